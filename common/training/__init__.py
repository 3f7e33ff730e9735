"""Code that surrounds the training loop: the run, its checkpoints, exports and folder."""
