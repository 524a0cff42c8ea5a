"""The atomic density: radial functions, harmonics, coefficients of environments and their derivatives."""
