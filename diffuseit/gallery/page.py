"""The page of the gallery, in Markdown."""

from collections.abc import Sequence

from .sheets import Sheet

FOLDER = "gallery"
"""The folder of the sheets, beside the page."""

_POCKET = """\
These are scenes of the pocket world, 64x64 pixels, translated by the networks that ship with the package. None of them
was seen in training.

No photo stands here. The networks for photos have licenses of their own and are not part of this package, and nobody
has measured them with it yet. Make this page from your own photos:

    diffuseit models download paper
    diffuseit gallery photos/ --models paper --to "a watercolor painting" -o output/gallery

The second command writes the same sheets for the presets of those networks. Photos take long on a CPU;
`--device cuda` is much faster."""

_PHOTOS = "These are your own images, translated by the networks {models}."

_FIGURES = """\
Under each result stand two figures that need no network: the share of edges that it has in common with its source (F1,
see [evaluation](evaluation.md)), and whether it lies on the pixels of its source. Edges of a good result may differ:
snow hides some and stars add some."""


def page(sheets: Sequence[Sheet], models: str, pocket_scenes: bool, suffix: str) -> str:
    """Return the page for sheets that lie in `FOLDER` under their names with `suffix`."""
    about = _POCKET if pocket_scenes else _PHOTOS.format(models=models)
    figures = _FIGURES if pocket_scenes else _FIGURES.replace("see [evaluation](evaluation.md)", "1 is best")
    parts = ["# Gallery", "`diffuseit gallery` makes this page.", about, figures]
    for sheet in sheets:
        parts += [
            f"## {sheet.title}",
            sheet.about,
            f'<img src="{FOLDER}/{sheet.name}{suffix}" alt="{sheet.title}">',
        ]
    return "\n\n".join(parts) + "\n"
