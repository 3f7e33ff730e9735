"""Trained runs as a page to look around in: `python -m common.explore`."""
