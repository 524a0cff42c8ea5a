"""The demonstration: train, test and run ethanol."""
