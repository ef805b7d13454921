"""The guided sampling loop (Kwon & Ye 2023, algorithm 1, with the official code's resampling and restarts)."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from ..errors import DivergedError, InputError
from ..losses.base import Loss, View
from ..methods import METHODS, SOLVERS, Move, Solver, State
from ..models.base import Backbone, Prediction
from ..models.precision import pull_back
from ..models.schedule import Schedule
from ..performance.options import FULL_SPEED, Execution
from .guidance import Evaluation, Objective
from .inversion import invert
from .mask import blend, check_mask, mean_inside
from .rng import Randomness, Seeded
from .settings import SamplerSettings as SamplerSettings


@dataclass(frozen=True)
class Step:
    """What happened in one step. `number` of `total` counts up from 0, `index` is the level, down to 0.

    `items` are the pictures of the batch it is about (all of them, but with restarts one by one). All pictures are
    [len(items), C, H, W]: `x_t` before the step, `gradient` d(loss)/d(x_t) (of methods that take it there,
    d(loss)/d(pred_xstart); 0 where no loss acts), `pred_xstart` the prediction. `terms` are the weighted losses
    [len(items)] by name, none where no loss acts. After `restarted` the run begins again. `pulls`, in the steps that
    measure them: |d(loss)/d(pred_xstart)| [len(items)] of each loss alone, by its number, as the losses look at
    pred_xstart, before the backbone (where it decodes: of the decoded picture).
    """

    number: int
    total: int
    index: int
    items: range
    x_t: Tensor
    gradient: Tensor
    pred_xstart: Tensor
    terms: dict[str, Tensor]
    restarted: bool = False
    pulls: dict[int, Tensor] = field(default_factory=dict)


def sample(
    backbone: Backbone,
    source: Tensor,
    losses: Sequence[Loss],
    settings: SamplerSettings,
    seed: int = 0,
    randomness: Randomness | None = None,
    allow_unguided: bool = False,
    mask: Tensor | None = None,
    execution: Execution = FULL_SPEED,
    pulls_every: int = 0,
) -> Iterator[Step]:
    """Translates `source` [B, 3, H, W] in [-1, 1]; the last step's `pred_xstart` is the result.

    Picture i of the batch at `seed` equals a single run at `seed + i`. `randomness` replaces the seeded one.
    `allow_unguided` permits an empty `losses`, which is SDEdit. Where `mask` [1 or B, 1, H, W] in [0, 1] is 0, the
    source survives exactly, and is put back at every step (Avrahami et al. 2022, arXiv 2111.14818). `execution` says
    how the machine is used. Every `pulls_every` steps (0: never) `Step.pulls` are measured, which leaves the picture
    as it is. Raises `InputError` before any heavy work for what cannot run and `DivergedError` when a
    value leaves the finite numbers.
    """
    if not losses and not allow_unguided:
        raise InputError("there are no losses: nothing would guide the picture; add at least one")
    check_source(source, backbone)
    source = source.detach().to(backbone.device, torch.float32)
    if mask is not None:
        check_mask(mask, source)
        mask = mask.detach().to(source)
    schedule = backbone.schedule(settings.steps)
    if settings.restart_above is not None and len(source) > 1 and randomness is None:
        return _one_by_one(backbone, source, losses, settings, seed, mask, execution, pulls_every)
    randomness = randomness or Seeded(seed, len(source))
    items = range(len(source))
    return _run(backbone, source, losses, settings, schedule, randomness, items, mask, execution, pulls_every)


def check_source(source: Tensor, backbone: Backbone) -> None:
    """Raises `InputError` for a picture batch that `backbone` cannot take."""
    if source.ndim != 4 or source.shape[1] != 3:
        raise InputError(f"the source must be [B, 3, H, W], not {tuple(source.shape)}")
    multiple = backbone.size_multiple
    if min(source.shape[-2:]) < multiple or any(side % multiple for side in source.shape[-2:]):
        raise InputError(
            f"the source is {source.shape[-1]}x{source.shape[-2]}: sides must be multiples of {multiple}"
        )
    if not torch.isfinite(source).all():
        raise InputError("the source holds values that are not finite")


def _one_by_one(
    backbone: Backbone,
    source: Tensor,
    losses: Sequence[Loss],
    settings: SamplerSettings,
    seed: int,
    mask: Tensor | None,
    execution: Execution,
    pulls_every: int,
) -> Iterator[Step]:
    """Restarts take pictures out of step with each other, so each runs alone."""
    schedule = backbone.schedule(settings.steps)
    number = 0
    for i in range(len(source)):
        own = [loss.item(i) for loss in losses]
        own_mask = mask if mask is None or len(mask) == 1 else mask[i : i + 1]
        left = (len(source) - i - 1) * settings.visits
        last = number
        picture, items = source[i : i + 1], range(i, i + 1)
        randomness = Seeded(seed + i, 1)
        for step in _run(
            backbone, picture, own, settings, schedule, randomness, items, own_mask, execution, pulls_every
        ):
            last = number + step.number
            yield replace(step, number=last, total=number + step.total + left)
        number = last + 1


@dataclass(frozen=True)
class _Run:
    """What holds for a whole run; `anchors` are the predictions of the source's inversion, by level."""

    backbone: Backbone
    objective: Objective
    settings: SamplerSettings
    schedule: Schedule
    randomness: Randomness
    x_start: Tensor
    mask: Tensor | None
    execution: Execution = FULL_SPEED
    anchors: dict[int, Tensor] = field(default_factory=dict)
    solver: Solver | None = None

    def again(self) -> "_Run":
        """The same run with a solver that remembers nothing."""
        name = self.settings.solver
        return replace(self, solver=None if name is None else SOLVERS[name](self.schedule))

    def noise(self) -> Tensor:
        return self.randomness.noise(self.x_start.shape).to(self.x_start)

    def labels(self) -> Tensor | None:
        if self.backbone.num_classes is None:
            return None
        return self.randomness.labels(self.backbone.num_classes).to(self.x_start.device)

    def guides(self, index: int) -> bool:
        return bool(self.objective.views) and self.settings.guides(index)


def _run(
    backbone: Backbone,
    source: Tensor,
    losses: Sequence[Loss],
    settings: SamplerSettings,
    schedule: Schedule,
    randomness: Randomness,
    items: range,
    mask: Tensor | None,
    execution: Execution,
    pulls_every: int,
) -> Iterator[Step]:
    if isinstance(backbone, nn.Module):
        execution.prepare(backbone)
    objective = Objective(losses, source, settings.view, execution, settings.first, settings.balance)
    x_start = backbone.encode(source)
    run = _Run(backbone, objective, settings, schedule, randomness, x_start, mask, execution).again()
    levels, first = settings.levels, settings.first
    inverted = _invert(run)
    number, restarts = 0, 0
    x = _start(run, inverted)
    position = 0
    while position < len(levels):
        index = levels[position]
        target = next((level for level in levels[position:] if level != index), -1)
        step, x_next = _step(run, x, index, target, apart=pulls_every > 0 and number % pulls_every == 0)
        restart = (
            settings.restart_above is not None
            and 0 < index < first
            and restarts < settings.max_restarts
            and bool((step.terms.get("range", x.new_zeros(1)) > settings.restart_above).any())
        )
        yield replace(
            step, number=number, total=number + len(levels) - position, items=items, restarted=restart
        )
        number += 1
        if restart:
            restarts += 1
            position = 0
            run = run.again()
            x = _start(run, inverted)
            continue
        if mask is not None and target >= 0:
            x_next = blend(x_next, schedule.q_sample(run.x_start, target, run.noise()), mask)
        position += 1
        if position < len(levels) and levels[position] == index:
            # The official code resamples the first level by the beta of the level below it.
            beta = float(schedule.betas[index - 1 if index == first else index])
            x_next = math.sqrt(1 - beta) * x_next + math.sqrt(beta) * run.noise()
        x = x_next


def _invert(run: _Run) -> Tensor | None:
    """The source's own noise at the first level, where a run starts there; fills `run.anchors` for the losses."""
    from_inversion = run.settings.start_at == "inversion"
    keep = {i for i in range(run.settings.first + 1) if run.objective.needs_inversion and run.guides(i)}
    if not from_inversion and not keep:
        return None
    if from_inversion:
        keep.discard(run.settings.first)  # the first step predicts there anyway
    inversion = invert(run.backbone, run.schedule, run.x_start, run.settings.first, keep, run.labels)
    run.anchors.update(inversion.pred_xstart)
    return inversion.x if from_inversion else None


def _start(run: _Run, inverted: Tensor | None) -> Tensor:
    """The first noisy picture."""
    schedule, first, less = run.schedule, run.settings.first, 1 - run.settings.start_colour
    x = schedule.q_sample(run.x_start, first, run.noise()) if inverted is None else inverted
    if less == 0:
        return x
    shifted = x - less * float(schedule.sqrt_alphas_cumprod[first]) * mean_inside(run.x_start, run.mask)
    return blend(shifted, x, run.mask)


def _step(run: _Run, x: Tensor, index: int, target: int, apart: bool) -> tuple[Step, Tensor]:
    """The step from level `index` to level `target`, one below wherever no solver takes it."""
    labels, noise = run.labels(), run.noise()
    guided = run.guides(index)
    run.execution.begin_step()
    if guided:
        run.objective.expect(index)
    x_t, prediction = _predict(run, x, index, labels, graph=guided and run.settings.goes_back(index))
    gradient, terms, pulls = None, {}, {}
    if guided:
        if run.objective.needs_inversion:
            run.anchors.setdefault(index, prediction.pred_xstart.detach())
        evaluation, gradient = _guidance(run, prediction, x_t, index, apart)
        terms, pulls = evaluation.terms, _pulls(run, evaluation, index)
    with torch.no_grad():
        detached = Prediction(
            prediction.pred_xstart.detach(), prediction.mean.detach(), prediction.log_variance.detach()
        )
        state = State(x.detach(), detached, run.schedule, index, noise, run.settings.control(index))
        move = _move(run, state, gradient, target)
        if not torch.isfinite(move.sample).all():
            raise DivergedError(
                f"step at level {index}: the sample is not finite; lower the weights or skip more"
            )
        picture = run.backbone.decode(blend(move.pred_xstart, run.x_start, run.mask))
    gradient = torch.zeros_like(x) if gradient is None else gradient
    step = Step(0, 0, index, range(len(x)), x.detach(), gradient, picture, terms, pulls=pulls)
    return step, move.sample


def _move(run: _Run, state: State, gradient: Tensor | None, target: int) -> Move:
    if run.solver is None or not run.settings.in_tail(state.index):
        return METHODS[run.settings.method].move(state, gradient, _Inner(run, state))
    pred_xstart, eta = state.prediction.pred_xstart, state.control.eta
    sample = run.solver(state.x_t, pred_xstart, state.index, target, state.noise, eta)
    return Move(sample, pred_xstart)


def _predict(
    run: _Run, x: Tensor, index: int, labels: Tensor | None, graph: bool
) -> tuple[Tensor, Prediction]:
    """x_t and the network's prediction there, attached to the graph of x_t where `graph` says so."""
    with torch.set_grad_enabled(graph):
        x_t = x.detach().requires_grad_(graph)
        prediction = run.backbone.predict(x_t, run.schedule, index, labels)
        if run.mask is not None:
            prediction = replace(prediction, pred_xstart=blend(prediction.pred_xstart, run.x_start, run.mask))
    return x_t, prediction


def _guidance(
    run: _Run, prediction: Prediction, x_t: Tensor, index: int, apart: bool
) -> tuple[Evaluation, Tensor | None]:
    """The losses at the views of a prediction, and their gradient where the method takes it; None if none acts.

    That is d(loss)/d(x_t) by one vector-Jacobian product through the backbone, or d(loss)/d(pred_xstart), or, where
    the method wants the former without the backward pass, d(loss)/d(x_t) with the network's noise held fixed.
    """
    leaf, pred_xstart = x_t, prediction.pred_xstart
    with torch.enable_grad():
        if METHODS[run.settings.method].gradient_at == "pred_xstart":
            leaf = pred_xstart = pred_xstart.detach().requires_grad_()
        elif not x_t.requires_grad:
            leaf = x_t = x_t.detach().requires_grad_()
            eps = run.schedule.eps_from_xstart(x_t.detach(), pred_xstart, index)
            pred_xstart = run.schedule.xstart_from_eps(x_t, eps, index)
        views = _views(run, pred_xstart, x_t, index)
    evaluation = _evaluate(run, views, index, apart=apart)
    if not evaluation.gradients:
        return evaluation, None
    return evaluation, _pull_back(run.backbone, evaluation, views, leaf)


def _pulls(run: _Run, evaluation: Evaluation, index: int) -> dict[int, Tensor]:
    """`Step.pulls`: what each loss has at its views, brought to pred_xstart."""
    at_prediction: dict[int, Tensor] = {}
    for (number, view), gradient in evaluation.pulls.items():
        pull = gradient * _share_of_prediction(run, index) if view == "noised" else gradient
        at_prediction[number] = at_prediction[number] + pull if number in at_prediction else pull
    return {number: pull.flatten(1).norm(dim=1) for number, pull in at_prediction.items()}


@dataclass(frozen=True)
class _Inner:
    """Further evaluations in one step (`methods.Inner`)."""

    run: _Run
    state: State

    def gradient(self, pred_xstart: Tensor, noised_at: int | None = None, view: View | None = None) -> Tensor:
        with torch.enable_grad():
            leaf = pred_xstart.detach().requires_grad_()
            views = self._views(leaf, noised_at)
        evaluation = _evaluate(self.run, views, self.state.index, inner=True, default_view=view)
        return _pull_back(self.run.backbone, evaluation, views, leaf)

    def look(self, pred_xstart: Tensor, noised_at: int | None = None, view: View | None = None) -> None:
        if self.run.objective.remembers:
            views = self._views(pred_xstart, noised_at)
            _evaluate(self.run, views, self.state.index, inner=True, default_view=view, differentiate=False)

    def _views(self, pred_xstart: Tensor, noised_at: int | None) -> dict[View, Tensor]:
        blended = blend(pred_xstart, self.run.x_start, self.run.mask)
        views = _views(
            self.run, blended, self.state.x_t, self.state.index if noised_at is None else noised_at
        )
        views.setdefault("pred_xstart", self.run.backbone.decode(blended))
        return views


def _views(run: _Run, pred_xstart: Tensor, x_t: Tensor, index: int) -> dict[View, Tensor]:
    """The pictures that the losses look at, attached to the graph of their arguments."""
    views: dict[View, Tensor] = {}
    if "pred_xstart" in run.objective.views:
        views["pred_xstart"] = run.backbone.decode(pred_xstart)
    if "noised" in run.objective.views:
        factor = _share_of_prediction(run, index)
        views["noised"] = run.backbone.decode(factor * pred_xstart + (1 - factor) * x_t)
    return views


def _share_of_prediction(run: _Run, index: int) -> float:
    """How much of the view "noised" pred_xstart is; the rest is x_t."""
    return float(run.schedule.sqrt_one_minus_alphas_cumprod[index])


def _evaluate(
    run: _Run,
    views: dict[View, Tensor],
    index: int,
    inner: bool = False,
    default_view: View | None = None,
    differentiate: bool = True,
    apart: bool = False,
) -> Evaluation:
    anchor = run.anchors.get(index)
    inversion = None if anchor is None else run.backbone.decode(anchor)
    try:
        return run.objective.evaluate(
            views, index, run.randomness, inversion, inner, default_view, differentiate, apart
        )
    except DivergedError as error:
        raise DivergedError(f"step at level {index}: {error}") from None


def _pull_back(backbone: Backbone, evaluation: Evaluation, views: dict[View, Tensor], leaf: Tensor) -> Tensor:
    """d(loss)/d(leaf): one vector-Jacobian product back from the views."""
    if not evaluation.gradients:
        return torch.zeros_like(leaf)
    outputs = [views[name] for name in evaluation.gradients]
    return pull_back(backbone, outputs, leaf, list(evaluation.gradients.values()))
