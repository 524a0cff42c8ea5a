"""Training of dipoles and polarisabilities: labels, kernels between frames, the fit."""
