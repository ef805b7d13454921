"""The sampler's widgets as settings of the core."""

from ..diffuseit.guidance.loop import SamplerSettings

METHOD_ITSELF = "the method itself"


def sampler_settings(
    restart_above=0.0, inner_steps=-1, solver=METHOD_ITSELF, tail_steps=0, **widgets
) -> SamplerSettings:
    """The widgets, whose values for "nothing" are None in the core."""
    chosen = None if solver == METHOD_ITSELF else solver
    return SamplerSettings(
        **widgets,
        restart_above=restart_above or None,
        inner_steps=None if inner_steps < 0 else inner_steps,
        solver=chosen,
        tail_steps=(tail_steps or None) if chosen else None,
    )
