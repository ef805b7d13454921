"""For all tests."""

import os

import pytest
from hypothesis import HealthCheck, settings

# Before torch is imported. Threads that wait in a loop make a busy machine ten times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


# The same examples on every machine, and no verdict by the clock. FUZZ_EXAMPLES=10000 looks longer.
settings.register_profile(
    "default",
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "50")),
    derandomize="FUZZ_EXAMPLES" not in os.environ,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("default")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the nightly tests out unless `-m` asks for them."""
    if "nightly" in config.getoption("-m"):
        return
    nightly = [item for item in items if item.get_closest_marker("nightly")]
    config.hook.pytest_deselected(items=nightly)
    items[:] = [item for item in items if item not in nightly]


@pytest.fixture(autouse=True)
def cold_cache():
    """Features remembered from another test would hide how often a network runs."""
    from diffuseit.performance import cache

    cache.clear()


@pytest.fixture(scope="module")
def models():
    """The pocket networks; each module has its own, since some tests watch or change them."""
    from diffuseit import load_models

    return load_models("pocket")


@pytest.fixture(scope="session")
def scenes():
    """Three pocket landscapes [3, 3, 64, 64]: summer, autumn and sunset."""
    from diffuseit.pocket.world.render import render, sample_geometry

    return render(sample_geometry("landscape", [1, 2, 3]), [0, 2, 4], [5, 6, 7])


@pytest.fixture(scope="session")
def pair(scenes):
    """The first two scenes."""
    return scenes[:2]


@pytest.fixture(scope="session")
def scene(scenes):
    """The first scene."""
    return scenes[:1]


@pytest.fixture(autouse=True)
def own_limits():
    """A limit that a test leaves on this process would kill a later one."""
    resource = pytest.importorskip("resource") if os.name == "posix" else None
    before = resource.getrlimit(resource.RLIMIT_CPU) if resource else None
    yield
    assert resource is None or resource.getrlimit(resource.RLIMIT_CPU) == before
