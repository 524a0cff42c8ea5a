"""Look at training data, find what is wrong in them, and choose, divide and join frames."""
