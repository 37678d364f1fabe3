"""Hooks of the whole suite."""

import helpers


def pytest_runtest_setup(item):
    """Tell `provide` which boards the test is marked for."""
    helpers.running.clear()
    helpers.running.update(marker.name for marker in item.iter_markers())
