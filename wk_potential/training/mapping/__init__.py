"""From support points to the mapped form."""
