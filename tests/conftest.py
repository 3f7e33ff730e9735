"""Make the fixtures of support.py, small_runs.py and explorer.py available to all tests."""

import importlib

import pytest

pytest.register_assert_rewrite("small_runs", "explorer")


def pytest_configure(config):
    """Import TensorFlow and the fixtures, but not in the process that only starts the workers."""
    if config.option.dist == "no":
        for name in ("support", "small_runs", "explorer"):
            config.pluginmanager.register(importlib.import_module(name))
