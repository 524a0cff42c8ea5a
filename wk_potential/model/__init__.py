"""A trained model: its parts, its evaluation, its file."""
