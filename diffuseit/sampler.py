"""The guided sampling loop (Kwon & Ye 2023, algorithm 1, with the official code's resampling and restarts)."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .backbones.base import Backbone, Prediction
from .errors import DivergedError, InputError
from .losses.base import Loss, View
from .mask import blend, check_mask
from .methods import METHODS, State, StepRule
from .objective import Evaluation, Objective
from .randomness import Randomness, Seeded
from .schedule import Schedule


@dataclass(frozen=True)
class SamplerSettings:
    """How the picture walks. `steps` spread over the whole process; the noisiest `skip` of them are left out.

    `resample` visits the first level that often (DDPM only). `view` is what losses look at that do not choose for
    themselves. `restart_above`: start again from fresh noise when the weighted range loss exceeds it, at most
    `max_restarts` times; None never. `step_rule` and `step_size`: see `methods/diffuseit.py`.
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

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise InputError(f"steps is {self.steps}: at least 1 is needed")
        if not 0 <= self.skip < self.steps:
            raise InputError(f"skip is {self.skip} of {self.steps} steps: it must leave at least one step")
        if self.resample < 1:
            raise InputError(f"resample is {self.resample}: the first level is visited at least once")
        if self.method not in METHODS:
            raise InputError(f"unknown method {self.method!r}: use one of {', '.join(METHODS)}")
        if self.view not in ("noised", "pred_xstart"):
            raise InputError(f"unknown view {self.view!r}: use 'noised' or 'pred_xstart'")
        if self.step_rule not in ("variance", "normalized"):
            raise InputError(f"unknown step rule {self.step_rule!r}: use 'variance' or 'normalized'")
        if not math.isfinite(self.step_size):
            raise InputError(f"step_size is {self.step_size}: use a finite number")

    @property
    def stochastic(self) -> bool:
        """Whether the method adds noise, so that resampling makes sense."""
        return self.method != "diffuseit-ddim"

    @property
    def visits(self) -> int:
        """Steps of a run without restarts."""
        return self.steps - self.skip + (self.resample - 1 if self.stochastic else 0)


@dataclass(frozen=True)
class Step:
    """What happened in one step. `number` of `total` counts up from 0, `index` is the level, down to 0.

    `items` are the pictures of the batch it is about (all of them, but with restarts one by one). All pictures are
    [len(items), C, H, W]: `x_t` before the step, `gradient` d(loss)/d(x_t), `pred_xstart` the prediction.
    `terms` are the weighted losses [len(items)] by name. After `restarted` the run begins again.
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


def sample(
    backbone: Backbone,
    source: Tensor,
    losses: Sequence[Loss],
    settings: SamplerSettings,
    seed: int = 0,
    randomness: Randomness | None = None,
    allow_unguided: bool = False,
    mask: Tensor | None = None,
    crop_batch: int | None = None,
) -> Iterator[Step]:
    """Translates `source` [B, 3, H, W] in [-1, 1]; the last step's `pred_xstart` is the result.

    Picture i of the batch at `seed` equals a single run at `seed + i`. `randomness` replaces the seeded one.
    `allow_unguided` permits an empty `losses`, which is SDEdit. Where `mask` [1 or B, 1, H, W] in [0, 1] is 0, the
    source survives exactly, and is put back at every step (Avrahami et al. 2022, arXiv 2111.14818). `crop_batch`:
    see `Objective`. Raises `InputError` before any heavy work for what cannot run and `DivergedError` when a value
    leaves the finite numbers.
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
        return _one_by_one(backbone, source, losses, settings, seed, mask, crop_batch)
    randomness = randomness or Seeded(seed, len(source))
    return _run(
        backbone, source, losses, settings, schedule, randomness, range(len(source)), mask, crop_batch
    )


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
    crop_batch: int | None,
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
        for step in _run(
            backbone, picture, own, settings, schedule, Seeded(seed + i, 1), items, own_mask, crop_batch
        ):
            last = number + step.number
            yield replace(step, number=last, total=number + step.total + left)
        number = last + 1


def _run(
    backbone: Backbone,
    source: Tensor,
    losses: Sequence[Loss],
    settings: SamplerSettings,
    schedule: Schedule,
    randomness: Randomness,
    items: range,
    mask: Tensor | None,
    crop_batch: int | None,
) -> Iterator[Step]:
    objective = Objective(losses, source, settings.view, crop_batch)
    x_start = backbone.encode(source)
    first = len(schedule) - settings.skip - 1
    number, restarts = 0, 0
    levels = _levels(first, settings)
    x = schedule.q_sample(x_start, first, _noise(randomness, x_start))
    position = 0
    while position < len(levels):
        index = levels[position]
        step, x_next = _step(backbone, objective, settings, schedule, randomness, x, index, x_start, mask)
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
            x = schedule.q_sample(x_start, first, _noise(randomness, x_start))
            continue
        if mask is not None and index > 0:
            x_next = blend(x_next, schedule.q_sample(x_start, index - 1, _noise(randomness, x_next)), mask)
        position += 1
        if position < len(levels) and levels[position] == index:
            beta = float(schedule.betas[index - 1])
            x_next = math.sqrt(1 - beta) * x_next + math.sqrt(beta) * _noise(randomness, x_next)
        x = x_next


def _levels(first: int, settings: SamplerSettings) -> list[int]:
    """The levels in the order of their visits: the first one `resample` times, then down to 0."""
    visits = settings.resample if settings.stochastic else 1
    return [first] * visits + list(range(first - 1, -1, -1))


def _step(
    backbone: Backbone,
    objective: Objective,
    settings: SamplerSettings,
    schedule: Schedule,
    randomness: Randomness,
    x: Tensor,
    index: int,
    x_start: Tensor,
    mask: Tensor | None,
) -> tuple[Step, Tensor]:
    labels = None
    if backbone.num_classes is not None:
        labels = randomness.labels(backbone.num_classes).to(x.device)
    noise = _noise(randomness, x)
    with torch.enable_grad():
        x_t = x.detach().requires_grad_()
        prediction = backbone.predict(x_t, schedule, index, labels)
        if mask is not None:
            prediction = replace(prediction, pred_xstart=blend(prediction.pred_xstart, x_start, mask))
        views = _views(backbone, objective, schedule, prediction, x_t, index)
        evaluation = _evaluate(objective, views, index, randomness)
        gradient = _pull_back(evaluation, views, x_t)
    with torch.no_grad():
        detached = Prediction(
            prediction.pred_xstart.detach(), prediction.mean.detach(), prediction.log_variance.detach()
        )
        state = State(x.detach(), detached, schedule, index, noise)
        move = METHODS[settings.method](state, gradient, settings.step_rule, settings.step_size)
        if not torch.isfinite(move.sample).all():
            raise DivergedError(
                f"step at level {index}: the sample is not finite; lower the weights or skip more"
            )
        picture = backbone.decode(blend(move.pred_xstart, x_start, mask))
    step = Step(0, 0, index, range(len(x)), x.detach(), gradient, picture, evaluation.terms)
    return step, move.sample


def _views(
    backbone: Backbone,
    objective: Objective,
    schedule: Schedule,
    prediction: Prediction,
    x_t: Tensor,
    index: int,
) -> dict[View, Tensor]:
    """The pictures that the losses look at, attached to the graph of x_t."""
    views: dict[View, Tensor] = {}
    if "pred_xstart" in objective.views:
        views["pred_xstart"] = backbone.decode(prediction.pred_xstart)
    if "noised" in objective.views:
        factor = float(schedule.sqrt_one_minus_alphas_cumprod[index])
        views["noised"] = backbone.decode(factor * prediction.pred_xstart + (1 - factor) * x_t)
    return views


def _evaluate(
    objective: Objective, views: dict[View, Tensor], index: int, randomness: Randomness
) -> Evaluation:
    try:
        return objective.evaluate(views, index, randomness)
    except DivergedError as error:
        raise DivergedError(f"step at level {index}: {error}") from None


def _pull_back(evaluation: Evaluation, views: dict[View, Tensor], x_t: Tensor) -> Tensor:
    """d(loss)/d(x_t): one vector-Jacobian product through the backbone."""
    if not evaluation.gradients:
        return torch.zeros_like(x_t)
    outputs = [views[name] for name in evaluation.gradients]
    return torch.autograd.grad(outputs, x_t, list(evaluation.gradients.values()))[0]


def _noise(randomness: Randomness, like: Tensor) -> Tensor:
    return randomness.noise(like.shape).to(like)
