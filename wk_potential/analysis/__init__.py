"""What a model is worth: errors, error bars, dimers, spectra, timing, figures."""
