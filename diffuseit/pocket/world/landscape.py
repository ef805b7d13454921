"""Landscapes: sky, mountains, hills, lake, path, house and trees in six seasons and hours."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .canvas import (
    EDGE,
    FAR,
    Canvas,
    Draw,
    Palette,
    box,
    circle,
    cover,
    either,
    ellipse,
    ramp,
    scatter,
    stripes,
    wave,
)

STYLES = ("summer", "winter", "autumn", "desert", "sunset", "night")
SEGMENTS = (
    "sky", "sun", "cloud", "mountain", "far hill", "near hill", "ground",
    "path", "lake", "wall", "roof", "door", "window", "trunk", "crown",
)  # fmt: skip
PARAMS = 72
TREES = 5

PARALLAX = {"cloud": 0.05, "far hill": 0.25, "near hill": 0.35}
MOUNTAIN_PARALLAX = (0.1, 0.13, 0.16)
CLOUD_SPEEDS = (1.0, 0.7)

# one color per style: summer, winter, autumn, desert, sunset, night
PALETTE = {
    "sky top": "3f8fe0 8fa9c4 7fa3bf 5fb0d8 4b2a78 0e1540",
    "sky low": "c9ebfa e9eff5 f6e3bd fbe9c2 ff9a4a 34437e",
    "sun": "ffe14a fff6d8 ffd763 fff0a0 ffd24a f4f1d6",
    "moon shade": "ffffff ffffff ffffff ffffff ffffff c3c6c8",
    "glow": "fff7c8 ffffff ffe9b0 fffbe0 ff7a5a 5a6cae",
    "cloud": "ffffff ffffff fff4e0 fffaf0 ffb08a 7b8bc2",
    "cloud base": "dcebf7 d3dde8 e6d3bd f2dfc0 d9658a 5262a0",
    "mountain": "8a9bb5 a3b4c8 a99a97 d08a5c 8a4a86 5460a4",
    "mountain foot": "a9c0cc cbd7e2 cdb9a0 e6b57e c4607c 5f72b0",
    "mountain dark": "566a88 73879f 75666c a35f40 5a2d6c 2a3268",
    "cap": "eef4f8 ffffff e8ded6 efc08c ffa08c a3b3e0",
    "far hill": "7dbb78 dbe6ef d8a548 ecc07a a34870 496aa0",
    "far hill foot": "5da35f c3d3e1 bd8233 d9a35c 7c3464 2f4880",
    "near hill": "5dae4e eaf1f7 cf8a34 f0cd86 7a3260 33548c",
    "near hill foot": "43913f cfdde9 a96827 dcae62 56224f 1d2f60",
    "ground": "86cc52 fbfdff e0b84e f8dfa0 80385c 3f7f7c",
    "ground foot": "4f9f3c d3e1ee b9822f e2b56c 4a2148 1f4858",
    "dot": "ffffff ffffff d9401a ffffff ffffff ffffff",
    "second dot": "ffd933 ffffff f59a1f ffffff ffffff ffffff",
    "third dot": "f27399 ffffff b3291f ffffff ffffff ffffff",
    "path": "e6cf9a b9c3d2 a8774a c48f55 c46a74 8790b4",
    "lake": "3f9be6 b6d9ee 5b93b3 3fb5b8 ff9d5c 4a74cc",
    "lake deep": "2568bd 8bb4d3 3a6b8c 2a8a96 a2407a 1f3a80",
    "bank": "d8c78a e9f0f6 8f6a35 c99a56 4a1f48 1f3c58",
    "glint": "9fd4fa f4fbff a5cbd9 a0e2da ffe08a aebfea",
    "wall": "f7e3bd c9ad92 ecd2a4 f6d8ac b3607a 8490bc",
    "wall dark": "d8b98a b09c8c c4a070 d9ab76 6a3357 47517f",
    "roof": "d0463c f6f9fc 9c4a34 b5653c 4c1d48 2a2f5e",
    "roof dark": "a5302e a5705f 74331f 8f4a2a 3c1740 1b1f45",
    "door": "7a4a2c 6a4a3a 6b3a22 7c4a2a 34153a 1d2148",
    "window": "8cc8ee 9fc4dd b9d4d6 8fc7cf ffd070 ffd95e",
    "trunk": "7b5233 6b5346 6a452c 8a6238 3a1a3e 1a2348",
    "crown": "3d9a3f 5b8f86 e0701f 8ba04a 4a2050 2a6468",
    "crown light": "6cc255 fdfeff f6a52c b3bd63 a04a6c 5fab9e",
    "crown dark": "236e36 38675f ad4318 5f7c38 2c1038 113040",
    "shadow": "35803a aabfd6 8a5c22 bd8a48 220f30 12303c",
}  # fmt: skip


@dataclass
class Layout:
    """Where things stand, all [N, 1, 1]: pixels, and booleans for what is there."""

    sun: tuple[Tensor, Tensor, Tensor]
    clouds: list[tuple[Tensor, Tensor, Tensor, Tensor]]  # there, x, y, scale
    mountains: list[tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]]  # there, x, y, slopes, wobble
    far_hill: tuple[Tensor, Tensor, Tensor, Tensor]  # y, height, length, phase
    near_hill: tuple[Tensor, Tensor, Tensor, Tensor]
    has_near_hill: Tensor
    ground: tuple[Tensor, Tensor, Tensor, Tensor]
    has_lake: Tensor
    lake: tuple[Tensor, Tensor, Tensor, Tensor]  # x, y, rx, ry
    has_path: Tensor
    path: tuple[Tensor, Tensor, Tensor, Tensor]  # top x, bottom x, bend, top y
    has_house: Tensor
    house: tuple[Tensor, Tensor, Tensor, Tensor]  # x, base y, half width, wall height
    window_side: Tensor
    pine: Tensor
    trees: list[tuple[Tensor, Tensor, Tensor, Tensor]]  # there, x, base y, height


def layout(params: Tensor) -> Layout:
    """Turn uniform numbers [N, PARAMS] into a scene."""
    draw = Draw(params)
    sun = (draw.between(8, 56), draw.between(8, 14), draw.between(4.2, 6))
    clouds = [
        (draw.chance(share), draw.between(low, high), draw.between(7, 17), draw.between(3.4, 4.8))
        for share, low, high in ((0.7, 6, 34), (0.45, 30, 58))
    ]
    mountains = _mountains(draw)
    far_hill = (draw.between(34, 37), draw.between(1.5, 3), draw.between(36, 60), draw.between(0, 1))
    near_hill = (draw.between(38.5, 41), draw.between(2, 3.5), draw.between(50, 90), draw.between(0, 1))
    has_near_hill = draw.chance(0.6)
    ground = (draw.between(43.5, 45.5), draw.between(0.5, 1.5), draw.between(60, 100), draw.between(0, 1))
    water = draw.between(0, 1)
    has_lake, has_path = water < 0.42, water > 0.66
    lake = (draw.between(16, 48), draw.between(55, 57.5), draw.between(14, 20), draw.between(4.2, 5.6))
    has_house = draw.chance(0.45)
    house_x = draw.between(12, 52)
    base = height(house_x, ground)[0] + draw.between(2.5, 4)
    house = (house_x, base, draw.between(5, 6.2), draw.between(6, 7.2))
    top_x = torch.where(has_house, house_x, draw.between(18, 46))
    top_y = torch.where(has_house, base, height(top_x, ground)[0])
    path = (top_x, draw.between(20, 44), draw.between(-4, 4), top_y)
    window_side = either(draw.chance(0.5), 1.0, -1.0)
    pine = draw.chance(0.5)
    scene = Layout(
        sun, clouds, mountains, far_hill, near_hill, has_near_hill, ground, has_lake, lake, has_path, path,
        has_house, house, window_side, pine, [],
    )  # fmt: skip
    scene.trees = _trees(draw, scene)
    return scene


def _mountains(draw: Draw) -> list[tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]]:
    count = draw.between(0, 3)
    x = draw.between(6, 58)
    found = []
    for index in range(3):
        slopes = draw.between(0.75, 1.15), draw.between(0.75, 1.15)
        found.append((count >= index, x, draw.between(14, 21 + index), *slopes, draw.between(0, 1)))
        x = (x + draw.between(17, 27)) % 62
    return found


def _trees(draw: Draw, scene: Layout) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Back to front; kept off the house, the path and the lake."""
    count = draw.between(0, TREES)
    order = [2, 0, 4, 1, 3]  # which of the places is filled first, second, ...
    trees = []
    for place, (depth, tall) in enumerate(((1.5, 12), (2.5, 13.5), (5, 16), (6.5, 18), (13, 25))):
        there = count >= order.index(place)
        x = draw.between(3, 61)
        if place == TREES - 1:  # the foreground tree stands at the side
            x = torch.where(x < 32, x * 0.35, 64 - (64 - x) * 0.35)
        x = _push(x, scene.house[0], torch.where(scene.has_house, scene.house[2] + tall * 0.3 + 1, 0))
        base = height(x, scene.ground)[0] + depth + draw.between(-0.7, 0.7)
        center, half_width = path_at(base, scene)
        x = _push(x, center, torch.where(scene.has_path, half_width + tall * 0.22 + 1, 0))
        in_lake = scene.has_lake & ((x - scene.lake[0]).abs() < scene.lake[2] + 3)
        base = torch.where(in_lake, torch.minimum(base, scene.lake[1] - scene.lake[3] - 0.8), base)
        trees.append((there, x, base, tall * draw.between(0.88, 1.12)))
    return trees


def _push(x: Tensor, away_from: Tensor, room: Tensor) -> Tensor:
    gap = x - away_from
    side = either(gap < 0, -1.0, 1.0)
    return away_from + side * torch.maximum(gap.abs(), room)


def height(x: Tensor, hill: tuple[Tensor, Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The y of a hill's crest over x, and its slope."""
    y, amplitude, length, phase = hill
    value, slope = wave(x, length, phase)
    return y + amplitude * value, amplitude * slope


def ground_parallax(y: Tensor) -> Tensor:
    """The parallax of the ground at height y, and of what stands there: nearer at the bottom."""
    return 0.45 + 0.55 * ((y - 43) / 21).clamp(0, 1)


def path_at(y: Tensor, scene: Layout) -> tuple[Tensor, Tensor]:
    """Center and half width of the path at height y."""
    top_x, bottom_x, bend, top_y = scene.path
    t = ((y - top_y) / (66 - top_y)).clamp(0, 1)
    return top_x + (bottom_x - top_x) * t + bend * (2 * math.pi * t).sin(), 1.1 + 4.4 * t


def draw(canvas: Canvas, params: Tensor, styles: Tensor, texture: Tensor) -> None:
    """Paint scenes of params [N, PARAMS] in styles [N]; texture [N, 4, K] numbers place the details."""
    scene, palette = layout(params), Palette(PALETTE, styles)
    style = {name: (styles == index).view(-1, 1, 1) for index, name in enumerate(STYLES)}
    _sky(canvas, scene, palette, style, texture)
    for mountain, parallax in zip(scene.mountains, MOUNTAIN_PARALLAX, strict=True):
        canvas.layer(parallax)
        _mountain(canvas, mountain, scene, palette)
    _hills(canvas, scene, palette, style, texture)
    _path(canvas, scene, palette)
    _lake(canvas, scene, palette)
    _shadows(canvas, scene, palette)
    _house(canvas, scene, palette)
    for tree in scene.trees:
        _tree(canvas, tree, scene, palette)
    if bool(style["winter"].any()):
        canvas.cling()
        distance, _, _ = scatter(canvas, texture, 11, (1.0, 1.7), 0.5)
        snow = cover(distance, 1.6) * style["winter"] * 0.95
        canvas.paint(snow, torch.ones_like(palette["sun"]))


def _sky(canvas: Canvas, scene: Layout, palette: Palette, style: dict[str, Tensor], texture: Tensor) -> None:
    canvas.rgb.copy_(palette.blend("sky top", "sky low", (canvas.y / 38).clamp(0, 1)))
    x, y, radius = canvas.x - scene.sun[0], canvas.y - scene.sun[1], scene.sun[2]
    distance = circle(x, y, radius)
    halo = (1 - distance.clamp(min=0) / (20 + 12 * style["sunset"])).clamp_(min=0).square_().mul_(0.55)
    canvas.paint(halo, palette["glow"])
    if bool(style["night"].any()):
        stars, _, _ = scatter(canvas, texture, 10, (0.7, 1.15), 0.5)
        fade = cover(5 - distance, 5.0)  # toward the moon
        canvas.paint(canvas.cover(stars) * fade * style["night"], palette["sun"])
    disc = canvas.cover(distance)
    canvas.paint(disc, palette["sun"], "sun")
    if bool(style["night"].any()):
        dark_side = canvas.cover(-circle(x + 0.4 * radius, y + 0.15 * radius, radius))
        canvas.paint(disc * dark_side * style["night"], palette["moon shade"])
    for (there, cx, cy, scale), speed in zip(scene.clouds, CLOUD_SPEEDS, strict=True):
        canvas.layer(PARALLAX["cloud"], drift=(speed, 0.0))
        canvas.paint(
            canvas.cover(_cloud(canvas.x - cx, canvas.y - cy, scale) + either(there, 0.0, FAR)),
            palette.blend("cloud", "cloud base", ramp(canvas.y, cy - 0.8 * scale, cy + 0.6 * scale)),
            "cloud",
        )


def _cloud(x: Tensor, y: Tensor, scale: Tensor) -> Tensor:
    puffs = torch.minimum(circle(x, y + 0.35 * scale, scale), circle(x - 1.15 * scale, y, 0.7 * scale))
    puffs = torch.minimum(puffs, circle(x + 1.2 * scale, y, 0.75 * scale))
    return torch.maximum(puffs, y - 0.45 * scale)


def _mountain(canvas: Canvas, mountain: tuple[Tensor, ...], scene: Layout, palette: Palette) -> None:
    there, peak_x, peak_y, left, right, wobble = mountain
    x, y = canvas.x - peak_x, canvas.y - peak_y
    slope = torch.where(x < 0, left, right)
    rounded = (x.square() + 1.5).sqrt() - 1.2
    mask = canvas.cover((slope * rounded - y) / (1 + slope.square()).sqrt() + either(there, 0.0, FAR))
    canvas.paint(mask, palette.blend("mountain", "mountain foot", ramp(y, 4.0, 22.0)), "mountain")
    zigzag = 1.3 * wave(x, 6.5, wobble)[0]
    cap = canvas.cover(y - 6.5 - zigzag) * mask
    canvas.paint(cap, palette["cap"])
    light = either(scene.sun[0] < peak_x, 1.0, -1.0)  # the sun lights its own side
    ridge = light * (wave(y, 11.0, wobble)[0] - x)
    canvas.paint(mask * canvas.cover(ridge) * (0.62 - 0.4 * ramp(y, 8.0, 24.0)), palette["mountain dark"])


def _hills(
    canvas: Canvas, scene: Layout, palette: Palette, style: dict[str, Tensor], texture: Tensor
) -> None:
    layers = (
        ("far hill", scene.far_hill, 0.0),
        ("near hill", scene.near_hill, either(scene.has_near_hill, 0.0, FAR)),
        ("ground", scene.ground, 0.0),
    )
    for name, hill, absent in layers:
        canvas.layer(ground_parallax(canvas.level()) if name == "ground" else PARALLAX[name])
        crest, slope = height(canvas.x, hill)
        depth = canvas.y - crest
        mask = canvas.cover(absent - depth / (1 + slope.square()).sqrt())
        color = palette.blend(name, f"{name} foot", ramp(depth, -1.0, 10.0 if name != "ground" else 20.0))
        canvas.paint(mask, color, name)
    if bool(style["desert"].any()):
        bend = 1.2 * wave(canvas.x, 26.0, texture[:, 0, :1, None])[0]
        ripples = cover(stripes(canvas.y + bend, 5.0, 1.4, texture[:, 1, :1, None]), 2.0)
        canvas.paint(mask * ripples * style["desert"] * 0.45, palette["ground foot"])
    dotted = style["summer"] | style["autumn"]
    if bool(dotted.any()):
        dots, kind, dy = scatter(canvas, texture, 9, (1.1, 1.5), 0.4)
        warm = palette.blend("dot", "second dot", (kind > 0.4).float())
        color = torch.where((kind > 0.7).unsqueeze(1), palette["third dot"], warm)
        canvas.paint(canvas.cover(dots) * (depth - dy > 4) * dotted, color)


def _path(canvas: Canvas, scene: Layout, palette: Palette) -> None:
    center, half_width = path_at(canvas.y, scene)
    distance = torch.maximum((canvas.x - center).abs() - half_width, scene.path[3] - canvas.y)
    canvas.paint(canvas.cover(distance + either(scene.has_path, 0.0, FAR)), palette["path"], "path")


def _lake(canvas: Canvas, scene: Layout, palette: Palette) -> None:
    cx, cy, rx, ry = scene.lake
    x, y = canvas.x - cx, canvas.y - cy
    distance = ellipse(x, y, rx, ry) + either(scene.has_lake, 0.0, FAR)
    canvas.paint(canvas.cover(distance - 1.2), palette["bank"])
    water = canvas.cover(distance)
    canvas.paint(water, palette.blend("lake", "lake deep", ramp(y, -ry, ry)), "lake")
    upper = x + 0.3 * rx, y + 0.3 * ry, 0.3 * rx
    lower = x - 0.25 * rx, y - 0.25 * ry, 0.35 * rx
    streaks = torch.minimum(box(*upper, 0.7), box(*lower, 0.7))
    canvas.paint(water * canvas.cover(streaks) * 0.8, palette["glint"])


def _shadows(canvas: Canvas, scene: Layout, palette: Palette) -> None:
    """Of the trees and the house, as one soft layer."""
    hx, base, half_width, _ = scene.house
    spots: list[tuple[Tensor, Tensor, Tensor, Tensor, Tensor | float]]
    spots = [(scene.has_house, hx, base, half_width + 2, 1.6)]
    spots += [(there, x, base, 0.33 * tall, 0.085 * tall) for there, x, base, tall in scene.trees]
    nearest: Tensor | None = None
    for there, cx, cy, rx, ry in spots:
        square = ((canvas.x - cx) / rx).square() + ((canvas.y - cy) / ry).square() + either(there, 0.0, FAR)
        nearest = square if nearest is None else torch.minimum(nearest, square, out=nearest)
    assert nearest is not None
    canvas.paint((1.25 - nearest).clamp_(0, 0.6), palette["shadow"])


def _house(canvas: Canvas, scene: Layout, palette: Palette) -> None:
    cx, base, half_width, wall = scene.house
    canvas.layer(ground_parallax(base))
    x, y = canvas.x - cx, canvas.y - base
    absent = either(scene.has_house, 0.0, FAR)
    roof_tall = half_width * 0.95
    eave, side = -wall + 0.6, scene.window_side
    chimney = box(x + side * 0.55 * half_width, y + wall + 0.62 * roof_tall, 1.1, 0.42 * roof_tall)
    canvas.paint(canvas.cover(chimney + absent), palette["wall dark"], "wall")
    body = box(x, y + wall / 2, half_width, wall / 2)
    canvas.paint(
        canvas.cover(body + absent), palette.blend("wall", "wall dark", ramp(side * x, -7.0, 12.0)), "wall"
    )
    gable = (x.abs() - (y - eave + roof_tall) * ((half_width + 1.6) / roof_tall)) * 0.68
    roof = torch.maximum(gable, y - eave)
    canvas.paint(
        canvas.cover(roof + absent), palette.blend("roof", "roof dark", ramp(y - eave, -2.2, 0.0)), "roof"
    )
    canvas.paint(canvas.cover(box(x + side * 2.0, y + 2, 1.2, 2) + absent), palette["door"], "door")
    canvas.paint(
        canvas.cover(box(x - side * 2.2, y + 0.55 * wall, 1.25, 1.25) + absent), palette["window"], "window"
    )


def _tree(canvas: Canvas, tree: tuple[Tensor, ...], scene: Layout, palette: Palette) -> None:
    there, cx, base, tall = tree
    canvas.layer(ground_parallax(base))
    x, y = canvas.x - cx, canvas.y - base
    absent = either(there, 0.0, FAR)
    trunk = box(x, y + 0.15 * tall, (0.045 * tall).clamp(min=0.8), 0.15 * tall)
    canvas.paint(canvas.cover(trunk + absent), palette["trunk"], "trunk")
    pine, pine_light = _pine(x, y, tall)
    light = either(scene.sun[0] < cx, -1.0, 1.0)
    round_, round_light = _round(x, y, tall, light)
    crown = canvas.cover(torch.where(scene.pine, pine, round_) + absent)
    canvas.paint(crown, palette["crown"], "crown")
    shade = torch.where(
        scene.pine, light * -x + 0.3, circle(x - light * 0.13 * tall, y + 0.75 * tall, 0.36 * tall)
    )
    canvas.paint(crown * cover(-shade, 2.0) * 0.55, palette["crown dark"])
    canvas.paint(crown * torch.where(scene.pine, pine_light, round_light), palette["crown light"])


def _pine(x: Tensor, y: Tensor, tall: Tensor) -> tuple[Tensor, Tensor]:
    """Three tiers: signed distance [N, S, S], and how lit (or snowed on) each height is, [N, S, 1]."""
    tiers, lit = [], torch.zeros_like(y + tall)
    for tip, bottom, half_width in ((0.64, 0.16, 0.32), (0.85, 0.42, 0.26), (1.0, 0.66, 0.19)):
        widening = half_width / (tip - bottom)
        side = (x.abs() - (y + tip * tall) * widening) / math.hypot(1, widening)
        below = y + bottom * tall
        tiers.append(torch.maximum(side, below))
        lit = torch.lerp(
            lit, cover(below + 0.1 * tall, 2.0), cover(below, EDGE)
        )  # upper tiers hide lower ones
    return torch.minimum(torch.minimum(tiers[0], tiers[1]), tiers[2]), lit


def _round(x: Tensor, y: Tensor, tall: Tensor, light: Tensor) -> tuple[Tensor, Tensor]:
    """A crown of three puffs: signed distance and highlight coverage, both [N, S, S]."""
    top = circle(x, y + 0.7 * tall, 0.3 * tall)
    sides = circle(x.abs() - 0.17 * tall, y + 0.5 * tall, 0.22 * tall)
    highlight = circle(x - light * 0.07 * tall, y + 0.79 * tall, 0.17 * tall)
    return torch.minimum(top, sides), cover(highlight, 2.0)
