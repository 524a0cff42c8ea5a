"""Analysis of a model: errors, error bars, dimers, spectra, timing, figures."""
