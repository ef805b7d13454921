"""How a picture walks through the noise levels: everything a user may set about it, checked at once."""

import math
from dataclasses import dataclass
from typing import get_args

from ..errors import InputError
from ..losses.base import View
from ..methods import METHODS, SOLVERS, Control, Eta, Method, SolverName, Start, StepRule
from .balance import BalanceMode


@dataclass(frozen=True)
class SamplerSettings:
    """How the picture walks. `steps` spread over the whole process; the noisiest `skip` of them are left out.

    `resample` visits the first level that often (not where a method adds no noise). `view` is what losses look at
    that do not choose for themselves. `restart_above`: start again from fresh noise when the weighted range loss
    exceeds it, at most `max_restarts` times; None never. `step_rule` and `step_size`: see `methods/steps.py`.

    Guidance: losses act from fraction `guide_from` of the run to fraction `guide_until`, there in every
    `guide_every`-th level. Up to fraction `backward_until` the gradient goes back through the denoising network;
    after it the network's noise counts as fixed, which saves the backward pass (methods with a gradient at
    pred_xstart never make it).

    `start_colour`: how much of the source's mean colour the first noisy picture keeps, 0 to 1. The noisiest levels
    still show it, and a run holds on to what it starts with (Lin et al. 2023, arXiv 2305.08891): without it the
    losses decide how dark or warm the picture becomes.

    None leaves a value to the method: `start`, at "noise" or at the "inversion" of the source; `eta`, DDIM's, in
    [0, 1], or pairs (end of a part as a fraction of the run, eta); `inner_steps` further steps on pred_xstart (agg,
    mpgd), of rate `inner_rate` where an optimiser takes them (agg). `symmetric`: a method that guides the prediction
    alone (agg, mpgd) guides the noise too.

    Time travel (Lugmayr et al. 2022, RePaint, arXiv 2201.09865; FreeDoM): levels from fraction `travel_from` of
    the run to `travel_until`, without the first, are visited `travel` times.
    After `guide_until` a `solver` (`guidance/solvers.py`) may take the steps instead of the method, in `tail_steps`
    levels spread evenly over those that are left (None: in each of them).

    `balance` "adaptive": the losses' weights are importances, 0 to 1, and each gradient is divided by the running mean
    of its norm (`guidance/balance.py`), so that the same weights suit any number of steps.
    Raises `InputError` for numbers that cannot work.
    """

    steps: int = 100
    skip: int = 40
    resample: int = 10
    method: str = "diffuseit"
    view: View = "noised"
    restart_above: float | None = None
    max_restarts: int = 3
    step_rule: StepRule = "variance"
    step_size: float = 1.0
    guide_from: float = 0.0
    guide_until: float = 1.0
    guide_every: int = 1
    backward_until: float = 1.0
    start: Start | None = None
    eta: Eta | None = None
    inner_steps: int | None = None
    inner_rate: float | None = None
    symmetric: bool = False
    travel: int = 1
    travel_from: float = 0.0
    travel_until: float = 1.0
    solver: SolverName | None = None
    tail_steps: int | None = None
    balance: BalanceMode = "fixed"
    start_colour: float = 1.0

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise InputError(f"steps is {self.steps}: at least 1 is needed")
        if not 0 <= self.skip < self.steps:
            raise InputError(f"skip is {self.skip} of {self.steps} steps: it must leave at least one step")
        if self.resample < 1:
            raise InputError(f"resample is {self.resample}: the first level is visited at least once")
        if self.method not in METHODS:
            raise InputError(f"unknown method {self.method!r}: use one of {', '.join(METHODS)}")
        if self.view not in get_args(View):
            raise InputError(f"unknown view {self.view!r}: use 'noised' or 'pred_xstart'")
        if self.step_rule not in get_args(StepRule):
            raise InputError(
                f"unknown step rule {self.step_rule!r}: use one of {', '.join(get_args(StepRule))}"
            )
        if not math.isfinite(self.step_size):
            raise InputError(f"step_size is {self.step_size}: use a finite number")
        if self.balance not in get_args(BalanceMode):
            raise InputError(f"unknown balance {self.balance!r}: use 'fixed' or 'adaptive'")
        if self.solver is not None and self.solver not in SOLVERS:
            raise InputError(f"unknown solver {self.solver!r}: use one of {', '.join(SOLVERS)}")
        if self.tail_steps is not None and (self.solver is None or self.tail_steps < 1):
            raise InputError(f"tail_steps is {self.tail_steps}: use 1 or more, with a solver")
        self._check_guidance()
        self._check_eta()

    def _check_guidance(self) -> None:
        for name in ("guide_from", "guide_until", "backward_until", "travel_from", "travel_until"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise InputError(f"{name} is {value}: use a fraction of the run, 0 to 1")
        if not 0 <= self.start_colour <= 1:
            raise InputError(f"start_colour is {self.start_colour}: use a share of the source's, 0 to 1")
        for name in ("guide_every", "travel"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}: use 1 or more")
        if self.start is not None and self.start not in get_args(Start):
            raise InputError(f"unknown start {self.start!r}: use 'noise' or 'inversion'")
        if self.inner_steps is not None and self.inner_steps < 0:
            raise InputError(f"inner_steps is {self.inner_steps}: use 0 (none) or more")
        if self.inner_rate is not None and not (math.isfinite(self.inner_rate) and self.inner_rate > 0):
            raise InputError(f"inner_rate is {self.inner_rate}: use a number above 0")

    def _check_eta(self) -> None:
        parts = self._eta_parts()
        for end, eta in parts:
            if not (0 <= eta <= 1 and 0 <= end <= 1):
                raise InputError(f"eta is {self.eta}: use 0 to 1, or pairs (fraction of the run, eta)")
            if eta == 0 and self._method.needs_noise:
                raise InputError(f"the method {self.method} guides by its noise: use an eta above 0")
        if not parts or parts[-1][0] < 1:
            raise InputError(f"eta is {self.eta}: its last part must end at fraction 1")

    @property
    def _method(self) -> Method:
        return METHODS[self.method]

    def _eta_parts(self) -> tuple[tuple[float, float], ...]:
        eta = self._method.eta if self.eta is None else self.eta
        return eta if isinstance(eta, tuple) else ((1.0, eta),)

    @property
    def stochastic(self) -> bool:
        """Whether the method adds noise, so that resampling makes sense."""
        return self._method.adds_noise

    @property
    def first(self) -> int:
        """The noisiest level that is visited; the cleanest is 0."""
        return self.steps - self.skip - 1

    @property
    def start_at(self) -> Start:
        """Where the run starts."""
        return self._method.start if self.start is None else self.start

    @property
    def levels(self) -> list[int]:
        """The levels in the order of their visits, repeated ones included, down to 0."""
        repeated = self.travel if self.stochastic else 1
        resampled = self.stochastic and not self.in_tail(self.first)
        levels = [self.first] * (self.resample if resampled else 1)
        for index in range(self.first - 1, -1, -1):
            if not self.in_tail(index):
                levels += [index] * (
                    repeated if self._within(index, self.travel_from, self.travel_until) else 1
                )
        return levels + [index for index in self._tail() if index < self.first]

    def in_tail(self, index: int) -> bool:
        """Whether the solver takes the step from level `index`."""
        return self.solver is not None and self.first - index >= self._position(self.guide_until)

    def _tail(self) -> list[int]:
        if self.solver is None:
            return []
        top = self.first - self._position(self.guide_until)
        count = top + 1 if self.tail_steps is None else min(self.tail_steps, top + 1)
        return [round(top - top * step / max(count - 1, 1)) for step in range(count)]

    @property
    def visits(self) -> int:
        """Steps of a run without restarts."""
        return len(self.levels)

    def _position(self, fraction: float) -> int:
        return round(fraction * (self.first + 1))

    def _within(self, index: int, start: float, end: float) -> bool:
        return self._position(start) <= self.first - index < self._position(end)

    def guides(self, index: int) -> bool:
        """Whether losses act at level `index`."""
        if not self._within(index, self.guide_from, self.guide_until):
            return False
        return (self.first - index - self._position(self.guide_from)) % self.guide_every == 0

    def goes_back(self, index: int) -> bool:
        """Whether the gradient at level `index` goes back through the denoising network."""
        return self._method.gradient_at == "x_t" and self._within(index, 0.0, self.backward_until)

    @property
    def ever_goes_back(self) -> bool:
        """Whether the run needs the denoising network's graph at all."""
        return any(self.guides(index) and self.goes_back(index) for index in self.levels)

    def control(self, index: int) -> Control:
        """What the method needs to know at level `index`."""
        method, inner_steps, inner_rate = self._method, self.inner_steps, self.inner_rate
        eta = next(eta for end, eta in self._eta_parts() if self.first - index < self._position(end))
        return Control(
            step_rule=self.step_rule,
            step_size=self.step_size,
            eta=eta,
            symmetric=self.symmetric,
            inner_steps=method.inner_steps if inner_steps is None else inner_steps,
            inner_rate=method.inner_rate if inner_rate is None else inner_rate,
        )
