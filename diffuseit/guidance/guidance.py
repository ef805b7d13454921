"""The losses of a run, and the one gradient they give.

`Guidance.gradient` has three steps. It makes the views of a prediction. It evaluates the losses at the views, one
network at a time. It pulls the gradient back from the views by one vector-Jacobian product.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, is_dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..errors import DivergedError
from ..losses.base import BoundLoss, Context, Term, View
from ..models.base import Backbone, Prediction
from ..models.precision import gradient_through, pull_back
from ..performance import cache
from ..performance.options import FULL_SPEED, Execution
from .balance import Balance, Key, Part
from .mask import blend, check_mask
from .rng import Rng
from .settings import SamplerSettings
from .timetable import Visit

AnyKey = TypeVar("AnyKey", bound=Hashable)


@dataclass(frozen=True)
class Guided:
    """The losses at one prediction, and their gradient.

    `gradient`: d(loss)/d(x_t), or d(loss)/d(pred_xstart) if the method takes it there, [B, C, H, W]; None if no loss
    acts. `terms`: the weighted values [B] by name, which add up to the loss. `shares`, if measured: the norm [B] of
    d(loss)/d(pred_xstart) of each loss alone, by its number.
    """

    gradient: Tensor | None = None
    terms: dict[str, Tensor] = field(default_factory=dict)
    shares: dict[int, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluation:
    """The losses at some views.

    `terms`: weighted values [B] by name. `gradients`: d(loss)/d(view) by view. `each`, if asked for: the gradients of
    each loss alone, by its number and view; they add up to `gradients`.
    """

    terms: dict[str, Tensor] = field(default_factory=dict)
    gradients: dict[View, Tensor] = field(default_factory=dict)
    each: dict[tuple[int, View], Tensor] = field(default_factory=dict)


@dataclass
class _Group:
    """Terms that share one forward and one backward pass: same network, same view, same number of crops, same mask.

    `terms` come with the index of their loss. `chosen`: whether a term has a view of its own.
    """

    network: nn.Module | None
    view: View
    crops: int
    mask: Tensor | None
    chosen: bool = False
    previous: Any = None
    terms: list[tuple[int, Term]] = field(default_factory=list)


@dataclass(frozen=True)
class _Weighted:
    """A term with the index of its loss and its weight in this step."""

    owner: int
    term: Term
    weight: float


@dataclass(frozen=True)
class _Summand:
    """The value [B] of a term at one view, its factor ([B] or a number), and their product."""

    owner: int
    term: str
    value: Tensor
    factor: float | Tensor
    weighted: Tensor


class Guidance:
    """The losses, bound to the source [B, 3, H, W] in [-1, 1] of a run.

    Everything about the source, style images, and prompts is computed here, once. Each evaluation runs one forward and
    one backward pass of every network, and frees its graph before the next network runs. With `balance` "adaptive"
    (`balance.py`) each term is differentiated alone, so a network runs one backward pass for each of its terms.

    `views` are those that some term needs. `needs_inversion`: some term compares with the source's inversion, whose
    predictions are in `anchors` by timestep.
    """

    def __init__(
        self,
        losses: Sequence[BoundLoss],
        source: Tensor,
        backbone: Backbone,
        settings: SamplerSettings,
        rng: Rng,
        mask: Tensor | None = None,
        options: Execution = FULL_SPEED,
    ):
        self.losses, self.backbone, self.rng, self.mask, self.options = losses, backbone, rng, mask, options
        self.schedule = backbone.schedule(settings.steps)
        self.gradient_at = settings.method.gradient_at
        self._source = source
        self.anchors: dict[int, Tensor] = {}
        self._balance = Balance() if settings.balance == "adaptive" else None
        # Unweighted values of the evaluation before, by term.
        self._last: dict[str, Tensor] = {}
        self._groups: list[_Group] = []
        masks = {}
        for bound in losses:
            if bound.mask is not None:
                check_mask(bound.mask, source)
                masks[id(bound.mask)] = backbone.view(bound.mask.to(source))
        shown = backbone.view(source)
        for owner, bound in enumerate(losses):
            inputs = {name: self._shown(value) for name, value in bound.inputs.items()}
            for term in bound.loss.terms(shown, inputs, self._features_of):
                if term.weight > 0:
                    view = (term.view or settings.view) if backbone.shows_noise else "pred_xstart"
                    self._add(owner, term, view, masks.get(id(bound.mask)), shown)
                if term.initial is not None:
                    self._last[term.name] = self._last.get(term.name, 0) + term.initial
        terms = [term for group in self._groups for _, term in group.terms]
        self.views = {group.view for group in self._groups}
        self.needs_inversion = any(term.needs_inversion for term in terms)
        self._remembers = any(term.scale is not None for term in terms)

    @cached_property
    def x_0(self) -> Tensor:
        """Return the source in the backbone's space, encoded when it is first asked for."""
        return self.backbone.encode(self._source)

    def gradient(self, prediction: Prediction, x_t: Tensor, visit: Visit, measure: bool = False) -> Guided:
        """Return the losses at the views of `prediction`, and their gradient where the method takes it.

        If x_t has a graph, that is d(loss)/d(x_t), by one vector-Jacobian product through the backbone. Else it is
        d(loss)/d(pred_xstart), or d(loss)/d(x_t) with the network's noise held fixed. `measure` asks for
        `Guided.shares`, which cost one more backward pass of a network for each further loss that shares it. The
        gradient stays the same.
        """
        leaf, pred_xstart = x_t, prediction.pred_xstart
        with torch.enable_grad():
            if not x_t.requires_grad and self.gradient_at == "pred_xstart":
                leaf = pred_xstart = pred_xstart.detach().requires_grad_()
            elif not x_t.requires_grad:
                leaf = x_t = x_t.detach().requires_grad_()
                eps = self.schedule.eps_from_xstart(x_t.detach(), pred_xstart, visit.t)
                pred_xstart = self.schedule.xstart_from_eps(x_t, eps, visit.t)
            views = self._views(pred_xstart, x_t, visit.t)
        found = self.evaluate(views, visit, each=measure)
        if not found.gradients:
            return Guided(None, found.terms)
        outputs = [views[view] for view in found.gradients]
        gradient = pull_back(self.backbone.networks().values(), outputs, leaf, list(found.gradients.values()))
        return Guided(gradient, found.terms, self._shares(found, visit.t) if measure else {})

    def prefetch(self, visit: Visit) -> None:
        """Start copying the network that comes first at `visit` to the device, if feature networks are offloaded."""
        if self.options.offload is not None:
            network = _first_network(self._active(visit, inner=False))
            if network is not None:
                self.options.offload.expect(network)

    def evaluate(
        self,
        views: Mapping[View, Tensor],
        visit: Visit,
        *,
        inner: bool = False,
        view: View | None = None,
        differentiate: bool = True,
        each: bool = False,
    ) -> Evaluation:
        """Return the weighted losses and their gradients at `views` [B, 3, H, W].

        An `inner` evaluation leaves out terms that depend on the step before. `view` replaces the run's view for the
        terms without a view of their own. Without `differentiate` there are only values. `each` asks for
        `Evaluation.each`.
        """
        found = Evaluation()
        values: dict[str, Tensor] = {}
        parts: dict[Key, Part] = {}
        active = self._active(visit, inner)
        for number, (group, terms) in enumerate(active, start=1):
            name = group.view if group.chosen or view is None else view
            with self._on_device(group.network, active[number:]):
                for crops, share in self._crops(group, terms, views[name]):
                    leaf = views[name].detach().requires_grad_(differentiate)
                    with torch.set_grad_enabled(differentiate):
                        features = leaf if group.network is None else group.network(leaf, *crops)
                        summands = self._summands(terms, group, features, share, visit, inner)
                        if differentiate and self._balance is not None:
                            _add_parts(parts, summands, features, leaf, group, name)
                        elif differentiate:
                            _add_gradients(found, summands, features, leaf, group, name, each)
                    for one in summands:
                        _accumulate(values, one.term, one.value.detach())
                        _accumulate(found.terms, one.term, one.weighted.detach())
            if group.previous is not None and not inner:
                group.previous = _detached(features)
        self._last.update(values)
        if self._balance is not None:
            for (owner, _), (name, gradient) in self._balance.shares(parts, learn=not inner).items():
                _accumulate(found.gradients, name, gradient)
                _accumulate(found.each, (owner, name), gradient)
        return found

    def _shown(self, value: Any) -> Any:
        """Return an input of a loss as the losses see it: images at the size of the views."""
        return self.backbone.view(value) if isinstance(value, Tensor) else value

    def _features_of(self, network: nn.Module, subject: Tensor | str) -> Any:
        self.options.prepare(network)
        with self._on_device(network):
            return cache.features(network, subject, self.options.rounding)

    def _add(self, owner: int, term: Term, view: View, mask: Tensor | None, source: Tensor) -> None:
        """Add a term to the group with which it shares the passes of its network."""
        for group in self._groups:
            same = group.network is term.network and group.mask is mask
            if same and group.view == view and group.crops == term.crops:
                break
        else:
            group = _Group(term.network, view, term.crops, mask)
            self._groups.append(group)
        group.chosen |= term.view is not None
        if term.needs_previous and group.previous is None and group.network is not None:
            group.previous = self._features_of(group.network, source)
        group.terms.append((owner, term))

    def _views(self, pred_xstart: Tensor, x_t: Tensor, t: int) -> dict[View, Tensor]:
        """Return the images at which the losses are evaluated, attached to the graph of the arguments."""
        views: dict[View, Tensor] = {}
        if "pred_xstart" in self.views:
            views["pred_xstart"] = self.backbone.show(pred_xstart)
        if "noised" in self.views:
            factor = float(self.schedule.sqrt_one_minus_alphas_cumprod[t])
            views["noised"] = self.backbone.show(factor * pred_xstart + (1 - factor) * x_t)
        return views

    def _active(self, visit: Visit, inner: bool) -> list[tuple[_Group, list[_Weighted]]]:
        """Return the groups that act at `visit`, each with the terms that act and their weights."""
        losses = [bound.loss for bound in self.losses]
        factors = [loss.factor(visit.progress) if loss.schedules else 1.0 for loss in losses]
        active = []
        for group in self._groups:
            terms = []
            for owner, term in group.terms:
                acts = (
                    visit.level < round(term.until * visit.levels)
                    and visit.t % term.phase[1] == term.phase[0]
                )
                left_out = inner and (term.needs_previous or not self.losses[owner].inner)
                if acts and factors[owner] > 0 and not left_out:
                    terms.append(_Weighted(owner, term, term.weight * factors[owner]))
            if terms:
                active.append((group, terms))
        return active

    def _crops(
        self, group: _Group, terms: Sequence[_Weighted], view: Tensor
    ) -> Iterator[tuple[tuple[Any, ...], float]]:
        """Yield the arguments of the group's network beside the view: a few crops at a time, to keep the graph small.

        Each comes with its share of all crops.
        """
        if group.crops == 0:
            yield (), 1.0
            return
        crops = self.rng.crops(group.crops, (view.shape[-2], view.shape[-1]))
        split = all(one.term.mean_of_crops for one in terms)
        for part in crops.split(self.options.crops_at_once(len(view)) if split else len(crops)):
            yield (part, self.options.crop_batch), len(part) / len(crops)

    def _summands(
        self,
        terms: Sequence[_Weighted],
        group: _Group,
        features: Any,
        share: float,
        visit: Visit,
        inner: bool,
    ) -> list[_Summand]:
        """Return a group's terms at `features`. Inner evaluations leave out scales, which depend on the step before."""
        anchor = self.anchors.get(visit.t)
        inversion = None if anchor is None else self.backbone.show(anchor)
        context = Context(visit.t, features, group.previous, self._last, inversion)
        summands = []
        for one in terms:
            factor: float | Tensor = one.weight
            if one.term.scale is not None and not inner:
                factor = factor * one.term.scale(context)
            value = share * one.term.value(context)
            weighted = factor * value
            if not torch.isfinite(weighted).all():
                raise DivergedError(
                    f"step at timestep {visit.t}: the loss '{one.term.name}' is not finite; "
                    "lower the weights or skip more"
                )
            summands.append(_Summand(one.owner, one.term.name, value, factor, weighted))
        return summands

    def _shares(self, found: Evaluation, t: int) -> dict[int, Tensor]:
        """Return `Guided.shares`: the gradient of each loss at its views, pulled back to pred_xstart."""
        at_prediction: dict[int, Tensor] = {}
        for (owner, view), gradient in found.each.items():
            factor = float(self.schedule.sqrt_one_minus_alphas_cumprod[t]) if view == "noised" else 1.0
            _accumulate(at_prediction, owner, factor * gradient)
        return {owner: gradient.flatten(1).norm(dim=1) for owner, gradient in at_prediction.items()}

    def _on_device(
        self, network: nn.Module | None, following: Sequence[tuple[_Group, Any]] = ()
    ) -> AbstractContextManager[Any]:
        """Keep `network` on the device inside the block, while the network of the next group is copied there."""
        offload = self.options.offload
        if offload is None or network is None:
            return nullcontext()
        return offload(network, then=_first_network(following))


@dataclass(frozen=True)
class InnerGuidance:
    """Further evaluations within a step, at predictions that a method has moved (`methods.Inner`)."""

    guidance: Guidance
    x_t: Tensor
    visit: Visit

    def gradient(self, pred_xstart: Tensor, noised_at: int | None = None, view: View | None = None) -> Tensor:
        """Return d(loss)/d(pred_xstart)."""
        with torch.enable_grad():
            leaf = pred_xstart.detach().requires_grad_()
            views = self._views(leaf, noised_at)
        found = self.guidance.evaluate(views, self.visit, inner=True, view=view)
        if not found.gradients:
            return torch.zeros_like(leaf)
        outputs, backbone = [views[name] for name in found.gradients], self.guidance.backbone
        return pull_back(backbone.networks().values(), outputs, leaf, list(found.gradients.values()))

    def observe(self, pred_xstart: Tensor, noised_at: int | None = None, view: View | None = None) -> None:
        """Evaluate the losses at the prediction, for those whose next weights depend on their values."""
        if self.guidance._remembers:
            views = self._views(pred_xstart, noised_at)
            self.guidance.evaluate(views, self.visit, inner=True, view=view, differentiate=False)

    def _views(self, pred_xstart: Tensor, noised_at: int | None) -> dict[View, Tensor]:
        mask = self.guidance.mask
        blended = pred_xstart if mask is None else blend(pred_xstart, self.guidance.x_0, mask)
        views = self.guidance._views(blended, self.x_t, self.visit.t if noised_at is None else noised_at)
        views.setdefault("pred_xstart", self.guidance.backbone.show(blended))
        return views


def _add_gradients(
    found: Evaluation,
    summands: Sequence[_Summand],
    features: Any,
    leaf: Tensor,
    group: _Group,
    view: View,
    each: bool,
) -> None:
    """Add d(sum of the summands)/d(leaf) to `found`, and with `each` the part of every loss."""
    by_owner: dict[int, Tensor] = {}
    for one in summands:
        _accumulate(by_owner, one.owner, one.weighted)
    total = sum(by_owner.values(), leaf.new_zeros(len(leaf)))
    *others, last = by_owner
    own = {}
    if each:
        own = {owner: _gradient(by_owner[owner], features, leaf, group, keep_graph=True) for owner in others}
    gradient = _gradient(total, features, leaf, group)
    _accumulate(found.gradients, view, gradient)
    if each:
        # The rest of the whole gradient, so that the parts add up to it.
        own[last] = gradient - sum(own.values())
        for owner, part in own.items():
            _accumulate(found.each, (owner, view), part)


def _add_parts(
    parts: dict[Key, Part],
    summands: Sequence[_Summand],
    features: Any,
    leaf: Tensor,
    group: _Group,
    view: View,
) -> None:
    """Add the gradient of each summand alone. The networks of an ensemble add up to one part."""
    for one in summands:
        gradient = _gradient(one.value, features, leaf, group, keep_graph=True)
        key = (one.owner, one.term)
        if key in parts:
            parts[key] = replace(parts[key], gradient=parts[key].gradient + gradient)
        else:
            importance = torch.as_tensor(one.factor, dtype=gradient.dtype, device=gradient.device)
            parts[key] = Part(view, gradient, importance.view(-1, 1, 1, 1))


def _gradient(value: Tensor, features: Any, leaf: Tensor, group: _Group, keep_graph: bool = False) -> Tensor:
    """Return d(value)/d(leaf) for a value [B], times the group's mask."""
    gradient = gradient_through(group.network, value.sum(), features, leaf, keep_graph)
    if not torch.isfinite(gradient).all():
        names = ", ".join(sorted({term.name for _, term in group.terms}))
        raise DivergedError(f"the gradient of '{names}' is not finite; lower its weight or skip more")
    return gradient if group.mask is None else gradient * group.mask


def _first_network(groups: Sequence[tuple[_Group, Any]]) -> nn.Module | None:
    return next((group.network for group, _ in groups if group.network is not None), None)


def _accumulate(sums: dict[AnyKey, Tensor], key: AnyKey, value: Tensor) -> None:
    sums[key] = sums[key] + value if key in sums else value


def _detached(features: Any) -> Any:
    if is_dataclass(features) and not isinstance(features, type):
        return replace(features, **{name: value.detach() for name, value in vars(features).items()})
    return features.detach()
