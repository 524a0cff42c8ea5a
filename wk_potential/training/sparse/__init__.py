"""The sparse estimator: support environments, a streamed design matrix, cross-validation."""
