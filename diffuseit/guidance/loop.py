"""The guided sampling loop (Kwon & Ye 2023, algorithm 1, with the official code's resampling and restarts)."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from ..errors import DivergedError, InputError
from ..losses.base import BoundLoss
from ..methods import Move, State
from ..models.base import Backbone, Prediction
from ..performance.options import FULL_SPEED, Execution
from .guidance import Guidance, Guided, InnerGuidance
from .inversion import invert
from .mask import blend, check_mask, mean_inside
from .rng import Rng, Seeded, Shared
from .settings import SamplerSettings
from .solvers import SOLVERS
from .timetable import Visit


@dataclass(frozen=True)
class Step:
    """What happened in one step. `number` counts up from 0 to `total` - 1; timesteps `t` count down to 0.

    `items` are the images of the batch in this step (all of them, unless they restart one by one). `x_t` before the
    step, the prediction `x_0`, and `gradient` are [len(items), C, H, W] in the backbone's space. The gradient is
    d(loss)/d(x_t) (for methods that take it there, d(loss)/d(pred_xstart)), and 0 if no loss acts. `pred_xstart` is
    `x_0` as images. `terms` are the weighted losses [len(items)] by name. `shares`, in the steps that measure them, are
    the norms [len(items)] of the gradient of each loss alone, by its number. After a step with `restarted` the run
    begins again.
    """

    number: int
    total: int
    t: int
    items: range
    x_t: Tensor
    gradient: Tensor
    x_0: Tensor
    decode: Callable[[Tensor], Tensor]
    terms: dict[str, Tensor]
    shares: dict[int, Tensor] = field(default_factory=dict)
    restarted: bool = False

    @cached_property
    def pred_xstart(self) -> Tensor:
        """Return the prediction as images [len(items), 3, H, W]; it is decoded when it is first asked for."""
        with torch.no_grad():
            return self.decode(self.x_0)


Agree = Callable[[Tensor], Tensor]
"""Maps the predictions of a batch, [B, C, H, W] in the backbone's space, to predictions that agree with each other."""


@dataclass(frozen=True)
class Run:
    """What stays the same during a run.

    `x_0` is the source in the backbone's space. `x_start` is the first x_t if it is not drawn: one given to `sample`,
    or the source's own noise for methods that start there. For `measure_every` and `agree` see `sample`.
    """

    backbone: Backbone
    guidance: Guidance
    settings: SamplerSettings
    rng: Rng
    x_0: Tensor
    mask: Tensor | None = None
    options: Execution = FULL_SPEED
    measure_every: int = 0
    x_start: Tensor | None = None
    agree: Agree | None = None

    def noise(self) -> Tensor:
        """Draw standard normal noise [B, C, H, W]."""
        return self.rng.noise(self.x_0.shape).to(self.x_0)

    def labels(self) -> Tensor | None:
        """Draw random class labels [B] for a class-conditional network; None for another."""
        classes = self.backbone.num_classes
        return None if classes is None else self.rng.labels(classes).to(self.x_0.device)


def sample(
    backbone: Backbone,
    source: Tensor,
    losses: Sequence[BoundLoss],
    settings: SamplerSettings,
    seed: int = 0,
    *,
    rng: Rng | None = None,
    x_start: Tensor | None = None,
    mask: Tensor | None = None,
    options: Execution = FULL_SPEED,
    measure_every: int = 0,
    allow_unguided: bool = False,
    agree: Agree | None = None,
) -> Iterator[Step]:
    """Translate `source` [B, 3, H, W] in [-1, 1]; the last step's `pred_xstart` is the result.

    Image i of the batch at `seed` equals a single run at `seed + i` (with `shared_noise`, at `seed`, as long as no loss
    joins the images). `rng` replaces the seeded one. `x_start`, in the backbone's space, replaces the first x_t that
    would be drawn. Where `mask` [1 or B, 1, H, W] in [0, 1] is 0, the source survives exactly; it is put back in every
    step (Avrahami et al. 2022, arXiv 2111.14818). `options` say how the machine is used. Every `measure_every` steps
    (0: never) `Step.shares` are measured, which leaves the image as it is. `allow_unguided` permits an empty `losses`,
    which is SDEdit. In each step, `agree` replaces the predictions of the batch before the losses see them.

    Raise `InputError` before heavy work if the run cannot work, and `DivergedError` if a value is not finite.
    """
    if not losses and not allow_unguided:
        raise InputError("there are no losses, so nothing would guide the image: add at least one")
    if agree is not None and settings.restart_above is not None:
        raise InputError(
            "restarts translate each image alone, so images cannot agree: use restart_above None"
        )
    check_source(source, backbone)
    source = source.detach().to(backbone.device, torch.float32)
    if mask is not None:
        check_mask(mask, source)
        mask = mask.detach().to(source)
    backbone.schedule(settings.steps)
    if isinstance(backbone, nn.Module):
        options.prepare(backbone)

    def prepare(items: slice, losses: Sequence[BoundLoss], rng: Rng) -> Run:
        own_mask = None if mask is None else backbone.resize_mask(mask if len(mask) == 1 else mask[items])
        guidance = Guidance(losses, source[items], backbone, settings, rng, own_mask, options)
        run = Run(
            backbone, guidance, settings, rng, guidance.x_0, own_mask, options, measure_every, agree=agree
        )
        first = invert_source(run)
        return replace(run, x_start=first if x_start is None else x_start[items].detach().to(guidance.x_0))

    draws = Shared if settings.shared_noise else Seeded
    if settings.restart_above is None:
        return walk(prepare(slice(None), losses, rng or draws(seed, len(source))))
    return _restarting(
        lambda i: prepare(
            slice(i, i + 1),
            [loss.for_item(i) for loss in losses],
            rng or draws(seed if settings.shared_noise else seed + i, 1),
        ),
        len(source),
    )


def walk(run: Run) -> Iterator[Step]:
    """Run the algorithm: add noise to the source, then yield every step back to an image."""
    backbone, guidance, schedule = run.backbone, run.guidance, run.guidance.schedule
    method, timetable = run.settings.method, run.settings.timetable
    solver = None if run.settings.solver is None else SOLVERS[run.settings.solver](schedule)
    x = start(run)
    for number, visit in enumerate(timetable):
        labels, noise = run.labels(), run.noise()
        guided = visit.guided and bool(guidance.views)
        x_t, prediction = predict(run, x, visit, labels, graph=guided and visit.backward)
        measure = run.measure_every > 0 and number % run.measure_every == 0
        losses = guidance.gradient(prediction, x_t, visit, measure) if guided else Guided()

        with torch.no_grad():
            state = State(x, prediction.detach(), schedule, visit.t, noise, visit.level, visit.levels)
            if solver is not None and visit.solved:
                pred_xstart, eta = state.prediction.pred_xstart, method.eta_at(state)
                move = Move(solver(x, pred_xstart, visit.t, visit.t_next, noise, eta), pred_xstart)
            else:
                move = method.step(state, losses.gradient, InnerGuidance(guidance, x, visit))
            if not torch.isfinite(move.sample).all():
                raise DivergedError(
                    f"step at timestep {visit.t}: the sample is not finite; lower the weights or skip more"
                )
            x_0 = blend(move.pred_xstart, run.x_0, run.mask)
        gradient = torch.zeros_like(x) if losses.gradient is None else losses.gradient
        yield Step(
            number,
            len(timetable),
            visit.t,
            range(len(x)),
            x,
            gradient,
            x_0,
            backbone.decode,
            losses.terms,
            losses.shares,
        )

        x = move.sample
        if run.mask is not None and visit.t_next >= 0:
            x = blend(x, schedule.q_sample(run.x_0, visit.t_next, run.noise()), run.mask)
        if visit.again:
            # The official code resamples the first level by the beta of the level below it.
            beta = float(schedule.betas[max(visit.t - 1, 0)])
            x = math.sqrt(1 - beta) * x + math.sqrt(beta) * run.noise()


def start(run: Run) -> Tensor:
    """Return the first noisy image: the source with new noise, or at its own; `start_color` reduces its mean color."""
    schedule, first, less = run.guidance.schedule, run.settings.timetable[0].t, 1 - run.settings.start_color
    x = schedule.q_sample(run.x_0, first, run.noise()) if run.x_start is None else run.x_start
    if less == 0:
        return x
    shifted = x - less * float(schedule.sqrt_alphas_cumprod[first]) * mean_inside(run.x_0, run.mask)
    return blend(shifted, x, run.mask)


def invert_source(run: Run) -> Tensor | None:
    """Return the source's own noise if the method starts there, and store the predictions that losses compare with."""
    guidance, visits = run.guidance, run.settings.timetable
    from_inversion = run.settings.method.start_at == "inversion"
    keep = {visit.t for visit in visits if visit.guided} if guidance.needs_inversion else set()
    if not from_inversion and not keep:
        return None
    if from_inversion:
        keep.discard(visits[0].t)  # the first step predicts there anyway
    inversion = invert(run.backbone, guidance.schedule, run.x_0, visits[0].t, keep, run.labels)
    guidance.anchors.update(inversion.pred_xstart)
    return inversion.x if from_inversion else None


def predict(
    run: Run, x: Tensor, visit: Visit, labels: Tensor | None, graph: bool
) -> tuple[Tensor, Prediction]:
    """Return x_t and the prediction there, with a graph from x_t if `graph`. The mask protects the prediction too."""
    run.options.begin_step()
    run.guidance.prefetch(visit)
    with torch.set_grad_enabled(graph):
        x_t = x.detach().requires_grad_(graph)
        prediction = run.backbone.predict(x_t, run.guidance.schedule, visit.t, labels)
        if run.agree is not None:
            agreed = run.agree(prediction.pred_xstart)
            mean = run.guidance.schedule.posterior_mean(agreed, x_t, visit.t)
            prediction = replace(prediction, pred_xstart=agreed, mean=mean)
        if run.mask is not None:
            prediction = replace(prediction, pred_xstart=blend(prediction.pred_xstart, run.x_0, run.mask))
    if run.guidance.needs_inversion and visit.guided:
        run.guidance.anchors.setdefault(visit.t, prediction.pred_xstart.detach())
    return x_t, prediction


def _restarting(run_of: Callable[[int], Run], count: int) -> Iterator[Step]:
    """Run each of `count` images, again from new noise while its range loss is too large.

    Restarts take images out of step with each other, so each image runs alone.
    """
    number = 0
    for i in range(count):
        run = run_of(i)
        settings = run.settings
        first, length = settings.timetable[0].t, len(settings.timetable)
        assert settings.restart_above is not None
        for restarts in range(settings.max_restarts + 1):
            for step in walk(run):
                total = number + length - step.number + (count - i - 1) * length
                outside = step.terms.get("range", step.x_t.new_zeros(1)) > settings.restart_above
                restarted = restarts < settings.max_restarts and 0 < step.t < first and bool(outside.any())
                yield replace(step, number=number, total=total, items=range(i, i + 1), restarted=restarted)
                number += 1
                if restarted:
                    break
            else:
                break


def check_source(source: Tensor, backbone: Backbone) -> None:
    """Raise `InputError` if `backbone` cannot take the batch `source`."""
    if source.ndim != 4 or source.shape[1] != 3:
        raise InputError(f"the source must be [B, 3, H, W], not {tuple(source.shape)}")
    multiple = backbone.size_multiple
    if min(source.shape[-2:]) < multiple or any(side % multiple for side in source.shape[-2:]):
        raise InputError(
            f"the source is {source.shape[-1]}x{source.shape[-2]}: sides must be multiples of {multiple}"
        )
    if not torch.isfinite(source).all():
        raise InputError("the source has values that are not finite")
