"""Small data sets in the layouts of the published protocols, drawn by the pocket world."""

import csv
import json
from pathlib import Path

import torch

from diffuseit.evaluation.protocols.flexit import SPLIT, STATISTICS
from diffuseit.evaluation.protocols.pie import IMAGES, MAPPING, SIDE
from diffuseit.images.io import save_picture, to_pil
from diffuseit.pocket.judge import CLASSES
from diffuseit.pocket.world.render import STYLES, render, sample_geometry
from diffuseit.pocket.world.seeds import TUNING

LANDSCAPES = STYLES["landscape"]
FIRST_CLASS = CLASSES.index(("landscape", LANDSCAPES[0]))


def scenes(style, count, first=0):
    seeds = [TUNING.start + 40_000 + first + number for number in range(count)]
    return render(sample_geometry("landscape", seeds), [style] * count, seeds)


def save(picture, path, size=None):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    image = to_pil(picture)
    save_picture(image if size is None else image.resize(size), path)


def write_flexit(folder, features, classes=3, pictures=6):
    """ImageNet's layout, `classes` styles with `pictures` each, and FlexIT's two files; 2 requests a class and part."""
    imagenet, repository = Path(folder, "imagenet"), Path(folder, "flexit")
    seen = {}
    for number in range(classes):
        drawn = scenes(number, pictures, 100 * number)
        for index, picture in enumerate(drawn):
            save(picture, imagenet / f"n{number}" / f"val_{number}_{index}.png", (96, 80 + 4 * index))
        seen[FIRST_CLASS + number] = features(drawn)
    rows = []
    for target in range(classes):
        for index in range(4):
            source = (target + 1 + index % (classes - 1)) % classes
            rows.append(
                {
                    "": 100 * target + index,
                    "path": f"n{source}/val_{source}_{(2 * target + index) % pictures}.png",
                    "source": LANDSCAPES[source],
                    "source_id": FIRST_CLASS + source,
                    "target": LANDSCAPES[target],
                    "target_id": FIRST_CLASS + target,
                    "is_test": index < 2,
                }
            )
    (repository / SPLIT).parent.mkdir(parents=True, exist_ok=True)
    with (repository / SPLIT).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    everything = torch.cat(list(seen.values()))
    statistics = {
        "mean": everything.mean(0),
        "std": everything.std(0),
        "classwise": {each: {"mean": value.mean(0), "std": value.std(0)} for each, value in seen.items()},
    }
    torch.save(statistics, repository / STATISTICS)
    return imagenet, repository


def write_classes(folder, names=("winter", "night", "autumn"), pictures=5):
    """A folder of pictures for each style."""
    for number, name in enumerate(names):
        drawn = scenes(LANDSCAPES.index(name), pictures, 200 * number)
        for index, picture in enumerate(drawn):
            save(picture, Path(folder, name, f"{index}.png"))
    return Path(folder)


def write_pie(folder, kinds=(0, 9)):
    """PIE-Bench's layout with a request of each of the kinds; the last one may change everywhere."""
    mapping = {}
    for number, kind in enumerate(kinds):
        path = f"{kind}_kind/1_artificial/{number:012d}.png"
        save(scenes(0, 1, number)[0], Path(folder, IMAGES, path), (SIDE, SIDE))
        runs = [number for row in range(100, 300) for number in (row * SIDE + 150, 200)]
        mapping[f"{number:012d}"] = {
            "image_path": path,
            "original_prompt": "a [summer] landscape",
            "editing_prompt": "a [winter] landscape",
            "editing_instruction": "let it snow",
            "editing_type_id": str(kind),
            "blended_word": "",
            "mask": [0, SIDE * SIDE] if kind == kinds[-1] else runs,
        }
    Path(folder, MAPPING).write_text(json.dumps(mapping), encoding="utf-8")
    return Path(folder)
