"""Define the objectives beyond the original: flags, losses, kernels and priors."""
