"""Measure a folder of results: one row a picture, kept as soon as it is there, and a report of all."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ..errors import DiffuseITError, InputError, ModelError, in_words
from ..files.checksum import sha256_of
from ..images.deep import DeepPicture
from ..images.io import level_tensor, read_levels, read_picture, read_text, to_tensor
from ..images.recipe import Recipe, current_versions
from ..images.window import window_of
from ..models.hub.catalog import bundles
from .measure import Wanted, measure, style_of
from .pairs import Pair, Pairs
from .report import Report
from .rows import FILE, Row, append_row, key_of, read_rows
from .sets import csfid, frechet_distance, sfid, sfid_with_diagonal
from .witnesses import FeaturesOf, Witnesses

OnPicture = Callable[[int, str], None]
"""Takes how many pictures are done, and the name of the next."""

_POCKET_GUIDES = ("pocket ViT", "pocket CLIP")


def measure_folder(
    pairs: Pairs,
    witnesses: Witnesses,
    output: Path,
    *,
    results: str,
    sources: str,
    to: str | None = None,
    from_: str | None = None,
    device: torch.device | None = None,
    on_picture: OnPicture = lambda done, name: None,
) -> Report:
    """Measure all pairs and return the report. `results` and `sources` are the names of the folders for it.

    A row is written to `output` as soon as it is measured. Rows that are there, of the same files, texts and networks,
    are not measured again. `to` and `from_` are for all results whose table says nothing else. A picture that cannot
    be measured is named with the reason, and the others go on. Raise `InputError` or `ModelError` before any work for
    what no picture could be measured with.
    """
    device = device or torch.device("cpu")
    run = _Run(pairs, witnesses.to(device), to, from_, device)
    known = read_rows(output / FILE)
    output.mkdir(parents=True, exist_ok=True)
    rows, failures = [], dict(pairs.failures)
    for number, pair in enumerate(pairs.pairs):
        on_picture(number, pair.name)
        try:
            key = run.key(pair)
            row = known.get(key)
            if row is None or row.name != pair.name:
                row = run.row(pair, key)
                append_row(output / FILE, row)
            rows.append(row)
        except Exception as error:  # one picture's trouble, memory for one, is not the next one's
            failures[pair.name] = in_words(error)
    on_picture(len(pairs.pairs), "")
    notes = list(pairs.notes) + run.notes + list(_guides(rows, len(rows)))
    sets, why = run.sets(rows)
    return Report(
        results=results,
        sources=sources,
        rows=tuple(rows),
        networks=run.checksums,
        sets=sets,
        failures=failures,
        notes=tuple(notes + why),
        versions=current_versions(device),
    )


class _Run:
    """What all pictures of a folder share."""

    def __init__(
        self, pairs: Pairs, witnesses: Witnesses, to: str | None, from_: str | None, device: torch.device
    ) -> None:
        self.witnesses, self.to, self.from_, self.device = witnesses, to, from_, device
        self.pairs = pairs
        self.notes: list[str] = []
        self.classes = self._classes()
        self.style_classes = self._style_classes()
        if any(pair_to for pair_to, _ in map(self._texts, pairs.pairs)) and not witnesses.clips:
            raise ModelError(
                f"A text needs a CLIP that measures: {witnesses.how_to_get_more() or 'there is none'}"
            )
        styled = bool(pairs.styles) or any(pair.style for pair in pairs.pairs)
        if styled and witnesses.vit is None:
            raise ModelError(
                f"A style image needs a ViT that measures: {witnesses.how_to_get_more() or 'there is none'}"
            )
        self.checksums = witnesses.checksums()
        self.style_sums: list[str] = []
        self.style = self._common_style() if pairs.styles else None

    def key(self, pair: Pair) -> str:
        """Return the checksum of all that the figures of a pair depend on."""
        files = {"result": pair.result, "source": pair.source, "mask": pair.mask, "style": pair.style}
        to, from_ = self._texts(pair)
        return key_of(
            {name: None if path is None else sha256_of(path) for name, path in files.items()}
            | {"to": to, "from": from_, "class": self.classes.get(pair.name)}
            | {"styles": self.style_sums, "networks": sorted(self.checksums.items())}
        )

    def row(self, pair: Pair, key: str) -> Row:
        """Measure a pair."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            result, source = (image.to(self.device) for image in _result_and_source(pair))
            style = self.style
            if pair.style is not None:
                style = style_of([self._read(pair.style)], self.witnesses)
            mask = (
                None
                if pair.mask is None
                else level_tensor(read_picture(pair.mask).over("black").convert("L"))
            )
        to, from_ = self._texts(pair)
        wanted = Wanted(
            to, from_, style, None if mask is None else mask.to(self.device), self.classes.get(pair.name)
        )
        found = measure(result, source, wanted, self.witnesses)
        said = [str(warning.message) for warning in caught if issubclass(warning.category, UserWarning)]
        return Row(
            name=pair.name,
            source=pair.source.name,
            key=key,
            values=found.values,
            to=to,
            from_=from_,
            notes=(*found.notes, *said),
            guides=tuple(name for name in _guides_of(pair.result) if name in self.checksums),
        )

    def sets(self, rows: Sequence[Row]) -> tuple[dict[str, float], list[str]]:
        """Return the distances between the measured results and the style images, and why there are none."""
        done = {row.name for row in rows}
        own = {pair.style for pair in self.pairs.pairs if pair.style is not None}
        styles = list(self.pairs.styles or sorted(own))
        if not styles or self.witnesses.fid is None or self.witnesses.sfid is None:
            return {}, []
        results = [pair.result for pair in self.pairs.pairs if pair.name in done]
        few = f"FID and SFID compare sets: 2 results and 2 style images are needed, and there are {len(results)} and"
        if min(len(results), len(styles)) < 2:
            return {}, [f"{few} {len(styles)}"]
        fid, flexit = (
            [self._features(paths, of) for paths in (results, styles)] for of in self._extractors()
        )
        classes, why = self._by_class(flexit[0], flexit[1], [self.classes.get(path.name) for path in results])
        return {
            "fid": frechet_distance(*fid),
            "sfid": sfid(*flexit),
            "sfid_with_diagonal": sfid_with_diagonal(*flexit),
            **classes,
            "results": float(len(results)),
            "style_images": float(len(styles)),
        }, why

    def _by_class(
        self, results: Tensor, styles: Tensor, targets: Sequence[int | None]
    ) -> tuple[dict[str, float], list[str]]:
        """CSFID of features of results and of style images, and why there is none."""
        if not self.style_classes:
            return {}, []
        own = [target for target in targets if target is not None]
        if len(own) < len(targets):
            lacking = len(targets) - len(own)
            return {}, [
                f"CSFID needs the target class of every result: {lacking} have none in the column class"
            ]
        if absent := sorted(set(own) - set(self.style_classes)):
            assert self.witnesses.classifier is not None
            listed = ", ".join(self.witnesses.classifier.classes[each] for each in absent[:5])
            return {}, [f"CSFID needs style images of every target class: there is no folder of {listed}"]
        found = {"csfid": csfid(results, own, styles, self.style_classes)}
        if min(min(each.count(one) for one in set(own)) for each in (own, self.style_classes)) > 1:
            found["csfid_with_diagonal"] = csfid(results, own, styles, self.style_classes, sfid_with_diagonal)
        return found, []

    def _extractors(self) -> tuple[FeaturesOf, FeaturesOf]:
        assert self.witnesses.fid is not None and self.witnesses.sfid is not None
        return self.witnesses.fid, self.witnesses.sfid

    def _features(self, paths: Sequence[Path], of: FeaturesOf) -> Tensor:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return torch.cat([of(self._read(path)).cpu() for path in paths])

    def _common_style(self) -> Tensor:
        pictures = []
        for path in self.pairs.styles:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", UserWarning)
                    pictures.append(style_of([self._read(path)], self.witnesses))
                self.style_sums.append(sha256_of(path))
            except InputError as error:
                self.notes.append(f"a style image is left out: {error}")
        if not pictures:
            raise InputError(self.notes[0])
        return torch.stack(pictures).mean(0)

    def _classes(self) -> dict[str, int]:
        """The number of the target class by the result's name. Raise `InputError` for a class that is not known."""
        named = {
            pair.name: pair.target.class_
            for pair in self.pairs.pairs
            if pair.target is not None and pair.target.class_ is not None
        }
        if named and self.witnesses.classifier is None:
            more = self.witnesses.how_to_get_more()
            raise ModelError(f"The column class needs a classifier that measures: {more or 'there is none'}")
        classifier = self.witnesses.classifier
        return {} if classifier is None else {name: classifier.index(each) for name, each in named.items()}

    def _style_classes(self) -> list[int]:
        """The class of each style image, by its folder; none unless the results have target classes."""
        classifier = self.witnesses.classifier
        if not self.pairs.style_classes:
            return []
        if not self.classes or classifier is None:
            self.notes.append(
                "CSFID needs the target class of every result: give --targets with a column class"
            )
            return []
        return [classifier.index(name) for name in self.pairs.style_classes]

    def _texts(self, pair: Pair) -> tuple[str | None, str | None]:
        """The target text and the source text of a pair: the table's, else those for all."""
        if pair.target is None:
            return self.to, self.from_
        return pair.target.to or self.to, pair.target.from_ or self.from_

    def _read(self, path: Path) -> Tensor:
        return to_tensor(read_picture(path).over("white")).to(self.device)


def _recipe_of(result: Path) -> Recipe | None:
    """The recipe in a result; None where it has none that is read here."""
    try:
        document = read_text(result)
        return None if document is None else Recipe.from_text(document, result.name)
    except DiffuseITError:
        return None


def _result_and_source(pair: Pair) -> tuple[Tensor, Tensor]:
    """Both as [1, 3, H, W] in [-1, 1], through the window of the result's recipe if there is one.

    A result of another type than its source has the window over its full range (`DeepPicture.save`).
    """
    recipe = _recipe_of(pair.result)
    if recipe is None or recipe.window is None:
        result, source = (to_tensor(read_picture(path).over("white")) for path in (pair.result, pair.source))
        return result, source
    original = read_levels(pair.source, recipe.window)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        made = read_levels(pair.result, "auto")
    if isinstance(made, DeepPicture) and isinstance(original, DeepPicture):
        same = made.levels.dtype == original.levels.dtype
        window = recipe.window if same else window_of(made.levels, "full", pair.name)
        made = replace(made, window=window)
    return made.tensor("white"), original.tensor("white")


def _guides_of(result: Path) -> tuple[str, ...]:
    """The networks that guided a result, by its own recipe; none where it has no recipe that is read here."""
    recipe = _recipe_of(result)
    models = None if recipe is None else recipe.models
    if models == "pocket":
        return _POCKET_GUIDES
    bundle = bundles().get(models or "")
    return () if bundle is None else (bundle.vit, *bundle.clip)


def _guides(rows: Sequence[Row], total: int) -> list[str]:
    """A line for each network that guided the results that it measures."""
    counts = Counter(name for row in rows for name in row.guides)
    return [
        f"{name} guided {count} of these {total} images, and so is no fair judge of them"
        for name, count in counts.items()
    ]
