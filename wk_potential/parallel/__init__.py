"""One structure divided among MPI ranks."""
