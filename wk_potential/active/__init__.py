"""Active learning: molecular dynamics that calls a reference calculator where the model is uncertain."""
