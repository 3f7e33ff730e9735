"""Make the fixtures of support.py and small_runs.py available to all tests."""

import importlib

import pytest

pytest.register_assert_rewrite("small_runs")


def pytest_configure(config):
    """Import TensorFlow and the fixtures, but not in the process that only starts the workers."""
    if config.option.dist == "no":
        for name in ("support", "small_runs"):
            config.pluginmanager.register(importlib.import_module(name))
