"""Oracles that share no code with the package, and small systems to test on."""
