"""The steps of a run, one after the other: which timestep, whether losses act, whether their gradient goes back."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Visit:
    """One step from timestep `t` to the cleaner `t_next` (-1: the image itself).

    `guided`: losses act. `backward`: their gradient goes back through the diffusion network. `solved`: a solver takes
    the step. `again`: the next step starts at `t` once more, after noise is added back. `level` counts the distinct
    timesteps of the run from 0 at the noisiest to `levels` - 1; `progress` is the same from 0 to 1.
    """

    t: int
    t_next: int = -1
    guided: bool = True
    backward: bool = True
    solved: bool = False
    again: bool = False
    level: int = 0
    levels: int = 1
    progress: float = 1.0


def make_timetable(
    *,
    levels: int,
    resample: int = 1,
    guide_from: float = 0.0,
    guide_until: float = 1.0,
    backward_until: float = 1.0,
    solver: bool = False,
    tail_steps: int | None = None,
) -> tuple[Visit, ...]:
    """All visits of a run over `levels` timesteps, the noisiest first.

    The other arguments are those of `SamplerSettings`; `solver`: whether one takes the steps after `guide_until`.
    """
    first = levels - 1
    begin, end, backward_end = (
        round(fraction * levels) for fraction in (guide_from, guide_until, backward_until)
    )
    solved_from = end if solver else levels
    by_method = list(range(first, first - solved_from, -1))
    tail = _spread(first - solved_from, tail_steps)
    timesteps = [*([first] * (resample - 1) if by_method else []), *by_method, *tail]
    visits = []
    for number, t in enumerate(timesteps):
        rest = timesteps[number + 1 :]
        level = first - t
        visits.append(
            Visit(
                t=t,
                t_next=next((later for later in rest if later != t), -1),
                guided=begin <= level < end,
                backward=level < backward_end,
                solved=level >= solved_from,
                again=bool(rest) and rest[0] == t,
                level=level,
                levels=levels,
                progress=level / first if first else 1.0,
            )
        )
    return tuple(visits)


def _spread(top: int, count: int | None) -> list[int]:
    """`count` timesteps spread evenly from `top` down to 0, all of them for None; none if `top` is negative."""
    if top < 0:
        return []
    count = top + 1 if count is None else min(count, top + 1)
    return [round(top - top * step / max(count - 1, 1)) for step in range(count)]
