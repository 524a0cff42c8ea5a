"""The machine: compiled functions and their cache, vectors, small matrix products, threads, MPI ranks."""
