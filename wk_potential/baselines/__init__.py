"""Baselines: potentials of other packages, to which a model adds what they lack."""
