"""The full estimator: exact Gaussian process regression on the kernels of all labels."""
