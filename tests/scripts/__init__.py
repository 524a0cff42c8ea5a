"""Programs that tests start: under mpiexec, or to be killed."""
