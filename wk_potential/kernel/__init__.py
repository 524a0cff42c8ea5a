"""Wigner kernels between environments, computed by iteration."""
