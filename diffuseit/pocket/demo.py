"""`diffuseit demo`: three translations of held-out pocket scenes beside SDEdit and the ground truth."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from ..api import load_models
from ..guidance.loop import Step
from ..images.io import save_picture, to_pil
from ..images.marks import SourceType, of_result
from ..images.sheet import save_sheet
from .benchmark.metrics import edge_f1, ssim
from .benchmark.run import VARIANTS, translate_tasks
from .benchmark.tasks import Spec, Tasks, build_tasks
from .judge import Judge
from .models import pocket_judge
from .world.render import STYLES
from .world.seeds import HELD_OUT

_SEEDS = HELD_OUT.start + (1 << 30)  # none of the benchmark's
SHOWN = (("text", "landscape", "summer", "winter", 0), ("text", "animal", "lion", "leopard", 8),
         ("image", "landscape", "summer", "sunset", 16))  # fmt: skip
"""Method, domain, style of the source, style wanted, seed."""

RENDER: SourceType = "algorithmicMedia"
RENDERS = ("source", "ground truth")


def run_demo(
    output: Path, console: Console, step_bar: Callable[[str], AbstractContextManager[Callable[[Step], None]]]
) -> None:
    """Translate, print what was reached, and write the contact sheet and the single images into `output`.

    `step_bar` shows the steps of a translation under its label.
    """
    models, judge = load_models("pocket"), pocket_judge()
    table = Table("translation", "style reached", "SSIM", "edge F1", title="Translated (SDEdit beside it)")
    columns: dict[str, list[Tensor]] = {"source": [], "SDEdit": [], "translated": [], "ground truth": []}
    for method, domain, old, new, seed in SHOWN:
        styles = STYLES[domain]
        tasks = build_tasks([Spec(domain, styles.index(old), styles.index(new), _SEEDS + seed)])
        label = f"{old} -> {new} ({'text' if method == 'text' else 'style picture'})"
        with step_bar(label) as show:
            translated = translate_tasks(tasks, models, VARIANTS[method].of(), on_step=show)
        plain = translate_tasks(tasks, models, VARIANTS["sdedit"].of())
        table.add_row(label, *_compare(translated, plain, tasks, judge))
        for name, picture in zip(columns, (tasks.source, plain, translated, tasks.truth), strict=True):
            columns[name].append(picture)
            path = output / f"{old}-{new}-{name.lower().replace(' ', '-')}.png"
            save_picture(to_pil(picture), path, mark=RENDER if name in RENDERS else of_result(RENDER))
        if method == "image":
            save_picture(to_pil(tasks.style), output / f"{old}-{new}-style.png", mark=RENDER)
    save_sheet(
        {name: torch.cat(pictures) for name, pictures in columns.items()}, output / "demo.png", scale=4
    )
    console.print(table)
    console.print(
        f"Saved {output / 'demo.png'} and the single images beside it", markup=False, soft_wrap=True
    )


@torch.no_grad()
def _compare(translated: Tensor, plain: Tensor, tasks: Tasks, judge: Judge) -> list[str]:
    """Style with the judge's probability, SSIM and edge F1 to the ground truth, each with SDEdit's in brackets."""

    def style(picture: Tensor) -> str:
        chances = judge(picture).softmax(1)[0]
        wanted = int(tasks.classes[0])
        return f"{'yes' if int(chances.argmax()) == wanted else 'no'} {chances[wanted].item():.2f}"

    cells = [f"{style(translated)} ({style(plain)})"]
    for metric in (ssim, edge_f1):
        ours, theirs = (metric(picture, tasks.truth).item() for picture in (translated, plain))
        cells.append(f"{ours:.2f} ({theirs:.2f})")
    return cells
