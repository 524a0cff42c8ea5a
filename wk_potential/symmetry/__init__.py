"""Calculators whose energy depends on the orientation: how much it does, and averages that do not."""
