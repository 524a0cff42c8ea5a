"""Learning on the fly: molecular dynamics that calls a reference calculator where the model does not know."""
