"""Inputs that go wrong, and kept model files of every format."""
