"""Dipoles and polarisabilities as targets, and their evaluation."""
