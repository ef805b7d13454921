"""The sampler's widgets as settings of the core."""

from typing import Any, cast

from ..diffuseit.guidance.loop import SamplerSettings
from ..diffuseit.methods import SolverName

METHOD_ITSELF = "the method itself"


def sampler_settings(
    restart_above: float = 0.0,
    inner_steps: int = -1,
    solver: str = METHOD_ITSELF,
    tail_steps: int = 0,
    **widgets: Any,
) -> SamplerSettings:
    """Return the settings of the widgets, whose values for "nothing" are None in the core."""
    chosen = None if solver == METHOD_ITSELF else cast(SolverName, solver)
    return SamplerSettings(
        **widgets,
        restart_above=restart_above or None,
        inner_steps=None if inner_steps < 0 else inner_steps,
        solver=chosen,
        tail_steps=(tail_steps or None) if chosen else None,
    )
