"""How the sampler takes an image through the noise levels: everything a user may set about it, checked at once."""

from dataclasses import dataclass, field
from functools import cached_property

from ..errors import InputError
from ..losses.base import View
from ..methods import AnyMethod, DiffuseIT
from ..schema import check, number
from .balance import BalanceMode
from .solvers import SolverName
from .timetable import Visit, make_timetable

MOST_STEPS = 1000


@dataclass(frozen=True)
class SamplerSettings:
    """The steps of a run, and when the losses act.

    `steps` spread over the whole diffusion process; the noisiest `skip` of them are left out. The first level is
    visited `resample` times (once if the method adds no noise). `view` is what losses look at that do not choose for
    themselves. An image starts again from fresh noise when its weighted range loss exceeds `restart_above`, at most
    `max_restarts` times; None never.

    Losses act from fraction `guide_from` of the run to fraction `guide_until`. Up to fraction `backward_until` the
    gradient goes back through the diffusion network. After it the network's noise counts as fixed, which saves the
    backward pass (methods with a gradient at pred_xstart never make it).

    `start_color` is how much of the source's mean color the first noisy image keeps, 0 to 1. The noisiest levels
    still show it, and a run holds on to what it starts with (Lin et al. 2023, arXiv 2305.08891). Without it the losses
    decide how dark or warm the image becomes.

    After `guide_until` a `solver` (`solvers.py`) may take the steps instead of the method, in `tail_steps` levels
    spread evenly over those that are left (None: in each of them).

    `balance` "adaptive" makes the weights of the losses importances, 0 to 1, and divides each gradient by the running
    mean of its norm (`balance.py`), so that the same weights suit any number of steps.
    Raise `InputError` for numbers that cannot work.
    """

    steps: int = number(100, low=1, high=MOST_STEPS)
    skip: int = number(40, low=0, high=MOST_STEPS - 1)
    resample: int = number(10, low=1, high=100)
    method: AnyMethod = field(default_factory=DiffuseIT)
    view: View = "noised"
    restart_above: float | None = number(None, low=0.0, high=1000.0)
    max_restarts: int = number(3, low=0, high=100)
    guide_from: float = number(0.0, low=0.0, high=1.0)
    guide_until: float = number(1.0, low=0.0, high=1.0)
    backward_until: float = number(1.0, low=0.0, high=1.0)
    solver: SolverName | None = None
    tail_steps: int | None = number(None, low=1, high=MOST_STEPS)
    balance: BalanceMode = "fixed"
    start_color: float = number(1.0, low=0.0, high=1.0)

    def __post_init__(self) -> None:
        check(self)
        if self.skip >= self.steps:
            raise InputError(f"skip is {self.skip} of {self.steps} steps: it must leave at least one step")
        if self.tail_steps is not None and self.solver is None:
            raise InputError("tail_steps counts the steps of a solver: choose a solver, or leave it out")

    @cached_property
    def timetable(self) -> tuple[Visit, ...]:
        """The steps of a run without restarts."""
        return make_timetable(
            levels=self.steps - self.skip,
            resample=self.resample if self.method.adds_noise else 1,
            guide_from=self.guide_from,
            guide_until=self.guide_until,
            backward_until=self.backward_until if self.method.gradient_at == "x_t" else 0.0,
            solver=self.solver is not None,
            tail_steps=self.tail_steps,
        )

    @property
    def ever_backward(self) -> bool:
        """Whether the run needs the diffusion network's graph at all."""
        return any(visit.guided and visit.backward for visit in self.timetable)
