"""For all tests."""

import os

import pytest

# Before torch is imported. Threads that wait in a loop make a busy machine ten times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


@pytest.fixture(autouse=True)
def cold_cache():
    """Features remembered from another test would hide how often a network runs."""
    from diffuseit.performance import cache

    cache.clear()
