"""renormalization."""
