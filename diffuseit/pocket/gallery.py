"""The pocket scenes of the gallery."""

from ..gallery.sheets import Subject
from ..images.resize import Canvas, resize
from .benchmark.tasks import Spec, build_tasks
from .world.render import STYLES
from .world.seeds import HELD_OUT

_SEEDS = HELD_OUT.start + (1 << 30) + (1 << 21)  # none of the benchmark's, the demo's, or the help pages'
_SCENES = (
    ("landscape", "summer", "winter"),
    ("animal", "lion", "leopard"),
    ("landscape", "desert", "night"),
    ("animal", "tiger", "zebra"),
)
"""Domain, style of the source, style wanted."""


def pocket_subjects(model: Canvas) -> list[Subject]:
    """Return scenes that no network saw in training, at the model's size, each with a text and a style image."""
    specs = [
        Spec(domain, STYLES[domain].index(old), STYLES[domain].index(new), _SEEDS + 8 * number)
        for number, (domain, old, new) in enumerate(_SCENES)
    ]
    tasks = build_tasks(specs)
    size = (model.image_size, model.image_size)
    sources, styles = resize(tasks.source, size).split(1), resize(tasks.style, size).split(1)
    guided = zip(sources, tasks.to, tasks.from_, styles, strict=True)
    return [Subject(*one, seed=number) for number, one in enumerate(guided)]
