"""spins."""
