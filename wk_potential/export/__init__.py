"""Models as files for PyTorch; needs the extra `torch`, which nothing else in the package imports."""
