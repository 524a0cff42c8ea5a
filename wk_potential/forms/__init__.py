"""The mapped form at run time: polynomials of the density that replace the support points."""
