"""Captions that name the style and the content of an image, for training the small CLIP."""

import random
import re
from collections.abc import Sequence
from functools import cache
from types import ModuleType

import torch
from torch import Tensor

from . import animals, landscape
from .render import Geometry

MEDIA = ("a photo of", "a picture of", "a drawing of", "an image of", "an illustration of", "a painting of")
ADJECTIVES = {
    "summer": ("summer", "sunny", "green", "bright summer"),
    "winter": ("winter", "snowy", "snow-covered", "cold winter", "frozen"),
    "autumn": ("autumn", "fall", "autumnal"),
    "desert": ("desert", "dry", "sandy", "arid desert"),
    "sunset": ("sunset", "evening", "dusk", "purple sunset"),
    "night": ("night", "moonlit", "dark night", "starry night"),
}
ENDINGS = {
    "summer": ("in summer", "in the summer", "on a sunny day", "with green grass"),
    "winter": ("in winter", "in the snow", "covered with snow", "in the winter", "while it is snowing"),
    "autumn": ("in autumn", "in the fall", "with fall foliage", "with orange leaves", "in autumn colours"),
    "desert": ("in the desert", "in a sandy desert", "with sand dunes"),
    "sunset": ("at sunset", "at dusk", "in the evening", "under an orange sky"),
    "night": ("at night", "under the stars", "in the moonlight", "by night"),
}
SCENES = ("landscape", "scene", "view", "countryside")
COATS = {
    "lion": ("lion", "tawny lion", "lion with a mane", "big lion"),
    "leopard": ("leopard", "spotted leopard", "leopard with dark spots", "golden leopard"),
    "tiger": ("tiger", "striped tiger", "orange tiger", "tiger with black stripes"),
    "panther": ("panther", "black panther", "black leopard", "dark panther with yellow eyes"),
    "polar bear": ("polar bear", "white polar bear", "white bear", "arctic bear"),
    "zebra": ("zebra", "zebra with stripes", "striped zebra", "black and white zebra"),
}

_TEMPLATES = (
    "a an the and of with from in at by on under landscape side view facing looking left right head's face close-up "
    "mountains round pine tree trees lake house path clouds"
)
"""The words that `caption` puts around and between the others."""


def unknown_words(text: str) -> list[str]:
    """Return the words of `text`, in lower case and each once, that no caption has."""
    return [word for word in dict.fromkeys(_words(text)) if word not in vocabulary()]


@cache
def vocabulary() -> frozenset[str]:
    """Return the words of all captions, in lower case."""
    varied = [*ADJECTIVES.values(), *ENDINGS.values(), *COATS.values()]
    phrases = [
        *MEDIA,
        *SCENES,
        *landscape.STYLES,
        *animals.STYLES,
        *(text for texts in varied for text in texts),
    ]
    return frozenset(_words(" ".join([*phrases, _TEMPLATES])))


def style_named(text: str) -> tuple[str, int] | None:
    """Return the domain and the style that a text asks for; None if it names none, or several.

    The longest phrase counts: a "black leopard" is a panther.
    """
    words = _words(text)
    found: dict[int, set[tuple[str, int]]] = {}
    for phrase, style in _phrases():
        length = len(phrase)
        if any(tuple(words[start : start + length]) == phrase for start in range(len(words) - length + 1)):
            found.setdefault(length, set()).add(style)
    longest = found[max(found)] if found else set()
    return longest.pop() if len(longest) == 1 else None


@cache
def _phrases() -> tuple[tuple[tuple[str, ...], tuple[str, int]], ...]:
    """What names a style: the words of a phrase, and the domain with the style."""
    named = [
        (("landscape", style), (*ADJECTIVES[name], *ENDINGS[name])) for style, name in _numbered(landscape)
    ]
    named += [(("animal", style), COATS[name]) for style, name in _numbered(animals)]
    return tuple((tuple(_words(text)), style) for style, texts in named for text in texts)


def _numbered(domain: ModuleType) -> list[tuple[int, str]]:
    return list(enumerate(domain.STYLES))


def _words(text: str) -> list[str]:
    """Return the words of `text` without the ending 's."""
    return re.findall(r"[^\W_]+", re.sub(r"['\u2019]s\b", "", text.lower()))


def caption(geometry: Geometry, styles: Sequence[int] | Tensor, rng: random.Random | None) -> list[str]:
    """One caption per image; without rng the canonical one."""
    indices = [int(style) for style in styles]
    if geometry.domain == "landscape":
        contents = landscape_contents(geometry.params)
        return [_landscape(landscape.STYLES[i], c, rng) for i, c in zip(indices, contents, strict=True)]
    poses = animal_poses(geometry.params)
    return [_animal(animals.STYLES[i], pose, rng) for i, pose in zip(indices, poses, strict=True)]


def landscape_contents(params: Tensor) -> list[list[str]]:
    """What stands in each scene, the most telling first."""
    scene = landscape.layout(params.cpu())
    tree_count = torch.stack([there for there, *_ in scene.trees]).sum(0)
    flags = (scene.has_lake, scene.has_house, scene.has_path, scene.pine, tree_count > 1, scene.clouds[0][0],
             scene.clouds[1][0])  # fmt: skip
    rows = [flag.flatten().tolist() for flag in flags]
    return [_name_contents(*row) for row in zip(*rows, strict=True)]


def _name_contents(
    lake: bool, house: bool, path: bool, pine: bool, several: bool, cloud: bool, second_cloud: bool
) -> list[str]:
    tree = "pine tree" if pine else "round tree"
    found = ["mountains", f"{tree}s" if several else f"a {tree}"]
    named = {"a lake": lake, "a house": house, "a path": path, "clouds": cloud or second_cloud}
    return found + [name for name, there in named.items() if there]


def animal_poses(params: Tensor) -> list[str]:
    """Says "head", "left" or "right" (where the animal looks) for each item."""
    pose = animals.layout(params.cpu())
    flags = zip(pose.is_head.flatten().tolist(), pose.faces_left.flatten().tolist(), strict=True)
    return ["head" if head else "left" if left else "right" for head, left in flags]


def _landscape(style: str, contents: list[str], rng: random.Random | None) -> str:
    if rng is None:
        return f"{_article(style)} landscape with {_join([c for c in contents if c != 'clouds'])}"
    if rng.random() < 0.2:
        return rng.choice((style, f"{style} landscape", *ADJECTIVES[style], *ENDINGS[style]))
    if rng.random() < 0.5:
        text = f"{_article(rng.choice(ADJECTIVES[style]))} {rng.choice(SCENES)}"
        ending = ""
    else:
        text, ending = f"a {rng.choice(SCENES)}", f" {rng.choice(ENDINGS[style])}"
    if rng.random() < 0.7:
        chosen = rng.sample(contents, rng.randint(1, min(3, len(contents))))
        joined = _join(chosen)
        text = f"{joined}{ending}" if ending and rng.random() < 0.4 else f"{text} with {joined}{ending}"
    else:
        text += ending
    return f"{rng.choice(MEDIA)} {text}" if rng.random() < 0.4 else text


def _animal(style: str, pose: str, rng: random.Random | None) -> str:
    if rng is None:
        return (
            f"{_article(style)}'s head" if pose == "head" else f"{_article(style)}, side view facing {pose}"
        )
    name = rng.choice((style, rng.choice(COATS[style])))
    if rng.random() < 0.25:
        return rng.choice((name, name.title(), _article(name)))
    full = _article(name)
    if pose == "head":
        views = (
            f"the head of {full}",
            f"the face of {full}",
            f"{full}, close-up",
            f"{_article(style)}'s head",
        )
    else:
        side = f"{full}, side view"
        views = (side, f"{side} facing {pose}", f"{full} looking {pose}", f"{full} from the side")
    shown = rng.choice((rng.choice(views), full))
    return f"{rng.choice(MEDIA)} {shown}" if rng.random() < 0.5 else shown


def _article(name: str) -> str:
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _join(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
