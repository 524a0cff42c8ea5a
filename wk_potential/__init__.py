"""wk_potential."""
