"""Structures and labels: frames, reading and writing files, neighbour lists. No kernels."""
