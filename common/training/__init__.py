"""Code around the training loop: runs, their checkpoints, their exported files and folders."""
