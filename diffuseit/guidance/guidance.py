"""The weighted sum of all losses and its gradient at the views, one network at a time."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import DivergedError
from ..losses.base import Look, Loss, Term, View
from ..models.crops import Crops
from ..models.precision import gradient_through
from ..performance import cache
from ..performance.options import FULL_SPEED, Execution
from .balance import Balance, BalanceMode, Key, Part
from .rng import Randomness


@dataclass
class _Group:
    """Terms that share one forward and one backward pass: same network, same view, same number of crops, same mask.

    `chosen`: whether a term chose the view for itself.
    """

    network: nn.Module | None
    view: View
    crops: int
    mask: Tensor | None
    chosen: bool
    previous: Any = None
    terms: list[Term] = field(default_factory=list)
    owners: dict[int, int] = field(default_factory=dict)  # number of the loss by the id of its term


@dataclass(frozen=True)
class Evaluation:
    """`terms`: weighted values [B] by name, which add up to the loss. `gradients`: d(loss)/d(view) by view.

    `pulls`, where asked for: the gradients of each loss alone, by its number and view; they add up to `gradients`.
    """

    terms: dict[str, Tensor]
    gradients: dict[View, Tensor]
    pulls: dict[tuple[int, View], Tensor] = field(default_factory=dict)


class Objective:
    """The losses bound to a source picture [B, 3, H, W] in [-1, 1].

    `needs_inversion`: some term compares with the source's inversion. `remembers`: some weight follows the values
    of the evaluation before.

    Everything about source and targets is computed here, once. Each call of `evaluate` runs every network once
    forward and once backward and frees its graph before the next one runs; each has its turn on the device.
    `first` is the noisiest level of the run, where its progress is 0. With `balance` "adaptive" (`guidance/balance.py`) each
    term is differentiated alone, so that the feature networks run backward once for each.
    """

    def __init__(
        self,
        losses: Sequence[Loss],
        source: Tensor,
        default_view: View,
        execution: Execution = FULL_SPEED,
        first: int = 0,
        balance: BalanceMode = "fixed",
    ):
        self._balance = Balance() if balance == "adaptive" else None
        self._execution = execution
        self._first = first
        self._groups: list[_Group] = []
        self._last: dict[str, Tensor] = {}
        self.needs_inversion = False
        self.remembers = False
        for number, loss in enumerate(losses):
            for term in loss.bind(source, self._features_of):
                if term.weight > 0:
                    self._add(term, number, source, term.view or default_view)
                    self.needs_inversion |= term.needs_inversion
                    self.remembers |= term.scale is not None
                if term.initial is not None:
                    self._last[term.name] = self._last.get(term.name, 0) + term.initial

    @property
    def views(self) -> set[View]:
        """The views that some term looks at."""
        return {group.view for group in self._groups}

    def _features_of(self, network: nn.Module, subject: Tensor | str) -> Any:
        self._execution.prepare(network)
        with self._execution.turn(network):
            return cache.features(network, subject, self._execution.rounding)

    def _add(self, term: Term, owner: int, source: Tensor, view: View) -> None:
        for group in self._groups:
            shared = group.network is term.network and group.mask is term.mask
            if shared and group.view == view and group.crops == term.crops:
                break
        else:
            group = _Group(term.network, view, term.crops, term.mask, chosen=False)
            self._groups.append(group)
        group.chosen |= term.view is not None
        if term.needs_previous and group.previous is None and group.network is not None:
            group.previous = self._features_of(group.network, source)
        group.terms.append(term)
        group.owners[id(term)] = owner

    def evaluate(
        self,
        views: Mapping[View, Tensor],
        index: int,
        randomness: Randomness,
        inversion: Tensor | None = None,
        inner: bool = False,
        default_view: View | None = None,
        differentiate: bool = True,
        apart: bool = False,
    ) -> Evaluation:
        """Values and gradients at step `index` for the given pictures [B, 3, H, W], one for each of `views`.

        `inversion`: see `Look`; `inner`: see `Term`. `default_view` replaces that of the losses which do not choose
        their view. Without `differentiate` there are values only. `apart` asks for `Evaluation.pulls` too, at one way
        back more through a network for each further loss that shares it; the gradients stay the same to the bit.
        """
        terms: dict[str, Tensor] = {}
        gradients: dict[View, Tensor] = {}
        values: dict[str, Tensor] = {}
        parts: dict[Key, Part] = {}
        pulls: dict[tuple[int, View], Tensor] = {}
        for group, active, crops, share in self._in_turn(index, views, randomness, inner):
            name = group.view if group.chosen or default_view is None else default_view
            with torch.set_grad_enabled(differentiate):
                view = views[name].detach().requires_grad_(differentiate)
                features = self._forward(group, view, crops)
                look = Look(index, features, group.previous, self._last, inversion)
                total = view.new_zeros(len(view))
                totals: dict[int, Tensor] = {}
                for term in active:
                    value = share * term.value(look)
                    factor: float | Tensor = term.weight * self._fade(term, index)
                    weighted = factor * value
                    if term.scale is not None and not inner:
                        scale = term.scale(look)
                        weighted, factor = weighted * scale, factor * scale
                    total = total + weighted
                    owner = group.owners[id(term)]
                    totals[owner] = totals[owner] + weighted if owner in totals else weighted
                    values[term.name] = values.get(term.name, 0) + value.detach()
                    terms[term.name] = terms.get(term.name, 0) + weighted.detach()
                    if not torch.isfinite(weighted).all():
                        raise DivergedError(
                            f"the loss '{term.name}' is not finite; lower the weights or skip more"
                        )
                    if differentiate and self._balance is not None:
                        gradient = _gradient(value.sum(), features, view, group, [term], keep_graph=True)
                        _add_part(parts, (owner, term.name), name, gradient, factor)
                if differentiate and self._balance is None:
                    own = _own_gradients(totals, features, view, group, active) if apart else {}
                    gradient = _gradient(total.sum(), features, view, group, active)
                    gradients[name] = gradients[name] + gradient if name in gradients else gradient
                    if apart:
                        own[next(reversed(totals))] = gradient - sum(own.values())
                    for owner, pull in own.items():
                        key = (owner, name)
                        pulls[key] = pulls[key] + pull if key in pulls else pull
            if group.previous is not None and not inner:
                group.previous = _detached(features)
        self._last.update(values)
        if self._balance is not None:
            for (owner, _), (name, gradient) in self._balance.shares(parts, learn=not inner).items():
                gradients[name] = gradients[name] + gradient if name in gradients else gradient
                key = (owner, name)
                pulls[key] = pulls[key] + gradient if key in pulls else gradient
        return Evaluation(terms, gradients, pulls)

    def expect(self, index: int) -> None:
        """Says that `evaluate` will come at step `index`: the first network may be brought to the device."""
        self._expect(self._active(index, inner=False))

    def _expect(self, coming: Sequence[tuple[_Group, list[Term]]]) -> None:
        network = next((group.network for group, _ in coming if group.network is not None), None)
        if network is not None:
            self._execution.turn.expect(network)

    def _active(self, index: int, inner: bool) -> list[tuple[_Group, list[Term]]]:
        """The groups that have something to do at step `index`, with the terms that do."""
        found = []
        for group in self._groups:
            active = [term for term in group.terms if term.active(index) and self._fade(term, index) > 0]
            if inner:
                active = [term for term in active if term.inner and not term.needs_previous]
            if active:
                found.append((group, active))
        return found

    def _in_turn(
        self, index: int, views: Mapping[View, Tensor], randomness: Randomness, inner: bool
    ) -> Iterator[tuple[_Group, list[Term], Crops | None, float]]:
        """The active groups, each with its network on the device: (group, terms, crops, share).

        A group comes in several parts, whose shares add up to 1, where that keeps a graph small.
        """
        groups = self._active(index, inner)
        for number, (group, active) in enumerate(groups, start=1):
            with nullcontext() if group.network is None else self._execution.turn(group.network):
                self._expect(groups[number:])
                if group.crops == 0:
                    yield group, active, None, 1.0
                    continue
                view = next(iter(views.values()))
                crops = randomness.crops(group.crops, (view.shape[-2], view.shape[-1]))
                apart = all(term.mean_of_crops for term in active)
                for part in crops.split(self._execution.crops_at_once(len(view)) if apart else len(crops)):
                    yield group, active, part, len(part) / len(crops)

    def _fade(self, term: Term, index: int) -> float:
        if term.fade is None:
            return 1.0
        return term.fade(1 - index / self._first if self._first else 1.0)

    def _forward(self, group: _Group, view: Tensor, crops: Crops | None) -> Any:
        if group.network is None:
            return view
        if crops is None:
            return group.network(view)
        return group.network(view, crops, self._execution.crop_batch)


def _own_gradients(
    totals: Mapping[int, Tensor], features: Any, view: Tensor, group: _Group, active: Sequence[Term]
) -> dict[int, Tensor]:
    """The gradients of all losses in `totals` but the last, which is what they leave of the gradient of the sum."""
    *others, _ = totals
    return {
        owner: _gradient(totals[owner].sum(), features, view, group, active, keep_graph=True)
        for owner in others
    }


def _gradient(
    total: Tensor,
    features: Any,
    view: Tensor,
    group: _Group,
    active: Sequence[Term],
    keep_graph: bool = False,
) -> Tensor:
    gradient = gradient_through(group.network, total, features, view, keep_graph)
    if not torch.isfinite(gradient).all():
        names = ", ".join(sorted({term.name for term in active}))
        raise DivergedError(f"the gradient of '{names}' is not finite; lower its weight or skip more")
    return gradient if group.mask is None else gradient * group.mask


def _add_part(parts: dict[Key, Part], key: Key, view: View, gradient: Tensor, factor: float | Tensor) -> None:
    """The networks of an ensemble, and crops that come a few at a time, add up to one part."""
    if key in parts:
        parts[key] = replace(parts[key], gradient=parts[key].gradient + gradient)
    else:
        importance = torch.as_tensor(factor, dtype=gradient.dtype, device=gradient.device)
        parts[key] = Part(view, gradient, importance.view(-1, 1, 1, 1))


def _detached(features: Any) -> Any:
    if is_dataclass(features) and not isinstance(features, type):
        return replace(features, **{name: value.detach() for name, value in vars(features).items()})
    return features.detach()
