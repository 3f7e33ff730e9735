"""Has the fixtures of support.py in the processes that run tests."""

import importlib


def pytest_configure(config):
    """Import TensorFlow with them, but not where xdist's workers run the tests."""
    if config.option.dist == "no":
        config.pluginmanager.register(importlib.import_module("support"))
