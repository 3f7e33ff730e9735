"""Compare trained runs in figures and in numbers."""
