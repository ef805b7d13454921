"""For all tests."""

import pytest


@pytest.fixture(autouse=True)
def cold_cache():
    """Features remembered from another test would hide how often a network runs."""
    from diffuseit import cache

    cache.clear()
