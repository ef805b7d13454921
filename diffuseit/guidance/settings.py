"""The settings of a run, checked when they are made."""

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

    `steps` are spread over the whole diffusion process, and the noisiest `skip` of them are left out. The first level
    is visited `resample` times (once if the method adds no noise). `view` is for losses without a view of their own. An
    image starts again from new noise if its weighted range loss exceeds `restart_above`, at most `max_restarts` times;
    None means never.

    Losses act from fraction `guide_from` of the run to fraction `guide_until`. Up to fraction `backward_until` the
    gradient passes back through the diffusion network. After it, the predicted noise counts as fixed, which saves the
    backward pass (methods with a gradient at pred_xstart never need it).

    `start_color` is how much of the source's mean color the first noisy image keeps, from 0 to 1. The noisiest levels
    still show that color, and a run keeps it (Lin et al. 2023, arXiv 2305.08891). At 0 the losses decide how dark or
    warm the image becomes.

    After `guide_until` a `solver` (`solvers.py`) may take the steps instead of the method, in `tail_steps` levels
    spread evenly over those that are left (None: in each of them).

    `balance` "adaptive" makes the weights of the losses importances, 0 to 1, and divides each gradient by the running
    mean of its norm (`balance.py`), so that the same weights suit any number of steps.
    With `shared_noise` all images of a batch draw the same random numbers, so that images which differ little, such as
    the frames of a film, get results which differ little.
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
    shared_noise: bool = False

    def __post_init__(self) -> None:
        check(self)
        if self.skip >= self.steps:
            raise InputError(f"skip is {self.skip} of {self.steps} steps: it must leave at least one step")
        if self.tail_steps is not None and self.solver is None:
            raise InputError("tail_steps counts the steps of a solver: choose a solver, or leave it out")

    @cached_property
    def timetable(self) -> tuple[Visit, ...]:
        """Return the steps of a run without restarts."""
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
        """Return whether any step needs a backward pass of the diffusion network."""
        return any(visit.guided and visit.backward for visit in self.timetable)
