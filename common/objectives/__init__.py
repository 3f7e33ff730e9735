"""Objectives beyond the original: their flags, losses, kernels and priors."""
