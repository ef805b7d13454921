"""Animals: frontal heads and side-view bodies, in six coats, before a plain wall and floor."""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from .canvas import (
    SIZE,
    Canvas,
    Draw,
    Palette,
    box,
    capsule,
    circle,
    either,
    ellipse,
    ramp,
    scatter,
    smooth_union,
    stripes,
)

STYLES = ("lion", "leopard", "tiger", "panther", "polar bear", "zebra")
SEGMENTS = (
    "background", "floor", "body", "neck", "head", "ear", "muzzle", "nose", "mouth", "eye", "leg", "tail",
)  # fmt: skip
PARAMS = 24

# one color per style: lion, leopard, tiger, panther, polar bear, zebra
PALETTE = {
    "coat": "dba54c e9bb52 f08a24 2c2c3a f6f3e8 f5f5f2",
    "belly": "f0cf8c f8e3ae fbe3c0 3d3d4e e2dccb dcdcdc",
    "far": "b57f35 c2923a c26a18 1a1a26 cfc8b6 bdbdbf",
    "mane": "8a4b20 f3d592 fbe6c8 22222e ebe6d6 e4e4e4",
    "ear": "8a4b20 4a3420 3a2418 1d1d28 dcd5c4 3a3a40",
    "inner ear": "e3b084 f2cfa0 f7d9c0 53465a b9a9a0 b5a5a5",
    "muzzle": "f8e4bc fbeccb fff4e6 46465a fffdf6 6a6a72",
    "nose": "8a4038 a1524c d8756a 15151d 2a2a30 26262c",
    "mouth": "5a2c20 4a3020 4a2a1c 101018 3a3a40 2a2a30",
    "eye": "e8b32a c8cf4a e9c22e ffe23a 3a2a20 4a3020",
    "side eye": "2a1a10 1e1a10 20160e ffe23a 15100c 15100c",
    "lid": "2a1a10 1e1a10 20160e 12121a ddd5c2 15100c",
    "pupil": "2a1a10 1e1a10 20160e 12121a 15100c 15100c",
    "mark": "8a4b20 3c2818 2a1c18 1d1d28 dcd5c4 26262c",
    "tail tip": "6f3a18 3c2818 2a1c18 15151d ebe6d6 26262c",
}  # fmt: skip
SPOTTED, TIGER, ZEBRA = 1, 2, 5
PARALLAX, DRIFT = 0.6, (1.0, 0.25)


@dataclass
class Pose:
    """All [N, 1, 1], pixels; `is_head` and `faces_left` are booleans."""

    is_head: Tensor
    faces_left: Tensor
    wall: Tensor  # [N, 3, 1, 1]
    floor: Tensor  # [N, 3, 1, 1]
    floor_y: Tensor
    x: Tensor
    y: Tensor
    size: Tensor
    rest: Draw


def layout(params: Tensor) -> Pose:
    """Turn uniform numbers [N, PARAMS] into a pose; the numbers left over shape the head or the body."""
    draw = Draw(params)
    is_head, faces_left = draw.chance(0.5), draw.chance(0.5)
    hue, shift = draw.between(0.25, 0.95), draw.between(-0.12, 0.12)
    saturation, value = draw.between(0.10, 0.30), draw.between(0.58, 0.74)
    wall = _hsv(hue, saturation, value)
    floor = _hsv((hue + shift).clamp(0.22, 0.97), saturation + 0.06, value - 0.16)
    floor_y = draw.between(40, 47)
    x, y, size = draw.between(-3, 3), draw.between(-2, 2), draw.between(0, 1)
    return Pose(is_head, faces_left, wall, floor, floor_y, x, y, size, draw)


def _hsv(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """[N, 1, 1] each -> [N, 3, 1, 1]."""
    offsets = torch.tensor([5.0, 3.0, 1.0], dtype=hue.dtype, device=hue.device).view(1, 3, 1, 1)
    k = (offsets + 6 * hue.unsqueeze(1)) % 6
    return value.unsqueeze(1) * (1 - saturation.unsqueeze(1) * torch.minimum(k, 4 - k).clamp(0, 1))


def draw(canvas: Canvas, params: Tensor, styles: Tensor, texture: Tensor) -> None:
    """Paint animals of params [N, PARAMS] in styles [N]; texture [N, 4, K] numbers place the markings."""
    is_head = params[:, 0] < 0.5
    for chosen, portrait in ((is_head, draw_head), (~is_head, draw_body)):
        index = chosen.nonzero().squeeze(1)
        if len(index):
            motion = None if canvas.motion is None else canvas.motion[index]
            part = Canvas(len(index), SEGMENTS, params.device, canvas.view, motion)
            if canvas.labels is not None:
                part.record_labels()
            portrait(part, layout(params[index]), styles[index], texture[index])
            canvas.rgb[index] = part.rgb
            if canvas.labels is not None and part.labels is not None:
                canvas.labels[index] = part.labels
            if canvas.surfaces is not None and part.surfaces is not None:
                for name, own in vars(part.surfaces).items():
                    getattr(canvas.surfaces, name)[index] = own


def _backdrop(canvas: Canvas, pose: Pose) -> None:
    canvas.rgb.copy_(pose.wall * (1.06 - 0.1 * canvas.y.unsqueeze(1) / SIZE))
    canvas.paint(canvas.cover(pose.floor_y - canvas.y).expand(-1, -1, canvas.view.size), pose.floor, "floor")


def _is(styles: Tensor, style: int) -> Tensor:
    return (styles == style).view(-1, 1, 1)


def draw_head(canvas: Canvas, pose: Pose, styles: Tensor, texture: Tensor) -> None:
    """A face seen from the front; x is mirrored, so every shape comes twice."""
    palette, more = Palette(PALETTE, styles), pose.rest
    _backdrop(canvas, pose)
    canvas.layer(PARALLAX, DRIFT)
    r = 17.5 + 3 * pose.size
    x, y = (canvas.x - 32 - pose.x).abs() / r, (canvas.y - 34 - pose.y) / r  # in head radii
    ear_x, ear_y, ear = more.between(0.62, 0.76), more.between(-0.82, -0.7), more.between(0.3, 0.4)
    tall, cheek = more.between(0.88, 0.98), more.between(0.5, 0.6)
    eye_x, eye_y = more.between(0.33, 0.4), more.between(-0.16, -0.06)
    muzzle_y = more.between(0.36, 0.42)

    shoulders = ellipse(x, y - 1.75, 0.95, 1.1) * r
    canvas.paint(canvas.cover(shoulders), palette["far"], "body")
    ears = circle(x - ear_x, y - ear_y, ear) * r
    canvas.paint(canvas.cover(ears), palette["ear"], "ear")
    canvas.paint(
        canvas.cover(circle(x - ear_x + 0.03, y - ear_y - 0.04, 0.58 * ear) * r), palette["inner ear"]
    )

    skull = smooth_union(ellipse(x, y, 1.0, tall), circle(x - 0.42, y - 0.4, cheek), 0.25) * r
    head = canvas.cover(skull)
    canvas.paint(head, palette["mane"], "head")
    face = canvas.cover(ellipse(x, y - 0.03, 0.8, 0.8 * tall) * r)
    canvas.paint(face, palette["coat"])
    eyes = ellipse(x - eye_x, y - eye_y, 0.145, 0.135) * r
    _head_marks(canvas, head, (3.6 - eyes).clamp_(min=0), x, y, r, palette, styles, texture)

    lips = circle(x - 0.2, y - muzzle_y, 0.26)
    muzzle = smooth_union(lips, circle(x, y - muzzle_y - 0.2, 0.24), 0.15) * r
    canvas.paint(canvas.cover(muzzle), palette["muzzle"], "muzzle")
    lip_y = muzzle_y + 0.06
    smile = torch.maximum(circle(x - 0.12, y - lip_y, 0.12).abs() - 0.036, lip_y - y)
    mouth = torch.minimum(smile, box(x, y - lip_y + 0.05, 0.036, 0.07))
    canvas.paint(canvas.cover(mouth * r), palette["mouth"], "mouth")
    nose = smooth_union(
        ellipse(x, y - muzzle_y + 0.2, 0.17, 0.08), circle(x, y - muzzle_y + 0.12, 0.06), 0.12
    )
    canvas.paint(canvas.cover(nose * r), palette["nose"], "nose")
    canvas.paint(canvas.cover(eyes - 0.7), palette["lid"])
    canvas.paint(canvas.cover(eyes), palette["eye"], "eye")
    canvas.paint(canvas.cover(circle(x - eye_x, y - eye_y, 0.08) * r), palette["pupil"])


def _head_marks(
    canvas: Canvas,
    head: Tensor,
    thinning: Tensor,
    x: Tensor,
    y: Tensor,
    r: Tensor,
    palette: Palette,
    styles: Tensor,
    texture: Tensor,
) -> None:
    """Spots of the leopard, stripes of tiger and zebra; thinning keeps them off the eyes."""
    phase, width = texture[:, 0, :1, None], texture[:, 1, :1, None]
    if bool(_is(styles, SPOTTED).any()):
        spots, _, _ = scatter(canvas, texture, 6.6, (1.5, 2.1), 0.92)
        canvas.paint(head * canvas.cover(spots + thinning) * _is(styles, SPOTTED), palette["mark"])
    striped = _is(styles, TIGER) | _is(styles, ZEBRA)
    if bool(striped.any()):
        zebra = _is(styles, ZEBRA)
        period = either(zebra, 6.4, 7.4)
        brow = stripes((x * 0.9 + y) * r, period, 2.0 + 0.5 * width + either(zebra, 0.8, 0.0), 0.3 * phase)
        inner = either(zebra, -0.1, 0.42) * r
        outside = (inner - (x.square() + (y - 0.15).square()).sqrt() * r + either(zebra, 0, 1.5)) * 0.5
        canvas.paint(head * canvas.cover(torch.maximum(brow, outside) + thinning) * striped, palette["mark"])


def draw_body(canvas: Canvas, pose: Pose, styles: Tensor, texture: Tensor) -> None:
    """An animal from the side; x points the way it looks, s is its size."""
    palette, more = Palette(PALETTE, styles), pose.rest
    _backdrop(canvas, pose)
    canvas.layer(PARALLAX, DRIFT)
    s = 1.02 + 0.12 * pose.size
    facing = either(pose.faces_left, -1.0, 1.0)
    x, y = (canvas.x - 32 - pose.x * 0.5) * facing / s + 1.5, (canvas.y - 35 - pose.y) / s
    chest, hip = more.between(8, 10), more.between(-10, -8)
    head_x, head_y = chest + more.between(6.5, 8.5), more.between(-11, -7)
    foot, swing, hind_swing = more.between(16, 18), more.between(-1, 2.5), more.between(-2.5, 1)
    tail_x, tail_y = more.between(-23.5, -20), more.between(-13, 6)
    ear = more.between(2.1, 2.7)

    shadow = ((x - 1) / 17).square() + ((y - foot - 1.5) / 2.4).square()
    canvas.paint((1.3 - shadow).clamp_(0, 0.55), pose.floor * 0.62)
    far = torch.minimum(
        _leg(x, y, chest - 1.5, chest - 2.5 - swing, foot - 1), _leg(x, y, hip + 2, hip + 4 + swing, foot - 1)
    )
    canvas.paint(canvas.cover(far * s), palette["far"], "leg")
    tail, tip = _tail(x, y, hip, tail_x, tail_y)
    tail_mask = canvas.cover(tail * s)
    canvas.paint(tail_mask, palette["coat"], "tail")
    canvas.paint(canvas.cover(tip * s), palette["tail tip"], "tail")
    canvas.paint(canvas.cover(circle(x - head_x - 0.6, y - head_y + 5.2, ear) * s), palette["far"], "ear")

    trunk = smooth_union(ellipse(x - chest + 1, y, 8.0, 7.3), ellipse(x - hip - 1, y - 0.3, 7.6, 6.9), 6.0)
    trunk = smooth_union(trunk, capsule(x, y, (hip, 0.0), (chest, 0.0), 5.6), 2.0)
    near = torch.minimum(_leg(x, y, chest, chest + swing, foot), _leg(x, y, hip, hip - 1 + hind_swing, foot))
    body_mask, leg_mask = canvas.cover(trunk * s), canvas.cover(smooth_union(near, trunk + 1.5, 2.0) * s)
    coat = palette.blend("coat", "belly", ramp(y, 1.0, 7.5))
    canvas.paint(leg_mask, palette["coat"], "leg")
    canvas.paint(body_mask, coat, "body")
    inside = torch.maximum(leg_mask * (near < 0.5), body_mask)
    canvas.paint(canvas.cover(near * s), palette["coat"])

    neck_end = (head_x - 1.5, head_y + 1)
    neck = smooth_union(capsule(x, y, (chest, -1.5), neck_end, 6.2, 5.2), trunk + 2.5, 3.0)
    neck_mask = canvas.cover(neck * s)
    canvas.paint(neck_mask, palette["coat"], "neck")
    mane = capsule(x, y, (chest + 0.8, -2.0), neck_end, 5.2, 5.8)
    canvas.paint(canvas.cover(mane * s) * (styles == 0).view(-1, 1, 1), palette["mane"])
    _body_marks(canvas, torch.maximum(inside, neck_mask), tail_mask, x, y, palette, styles, texture)

    hx, hy = x - head_x, y - head_y
    skull = smooth_union(circle(hx, hy, 5.6), ellipse(hx - 4.4, hy - 1.7, 3.6, 2.9), 2.0)
    canvas.paint(canvas.cover(circle(hx + 3.2, hy + 4.6, ear) * s), palette["ear"], "ear")
    head_mask = canvas.cover(skull * s)
    canvas.paint(head_mask, palette["coat"], "head")
    _body_face_marks(canvas, head_mask, hx, hy, palette, styles, texture)
    canvas.paint(
        head_mask * canvas.cover(ellipse(hx - 5, hy - 2.2, 3.7, 2.7) * s), palette["muzzle"], "muzzle"
    )
    canvas.paint(canvas.cover(ellipse(hx - 7.4, hy - 0.7, 1.4, 1.2) * s), palette["nose"], "nose")
    canvas.paint(canvas.cover(capsule(hx, hy, (4.0, 3.0), (6.6, 2.8), 0.45) * s), palette["mouth"], "mouth")
    canvas.paint(canvas.cover(circle(hx - 1.8, hy + 1.2, 1.35) * s), palette["side eye"], "eye")


def _leg(x: Tensor, y: Tensor, top: Tensor, bottom: Tensor, foot: Tensor) -> Tensor:
    leg = capsule(x, y, (top, 1.0), (bottom, foot - 2), 3.9, 2.1)
    return torch.minimum(
        leg, torch.maximum(ellipse(x - bottom - 0.9, y - foot + 0.3, 3.1, 2.0), y - foot - 0.9)
    )


def _tail(x: Tensor, y: Tensor, hip: Tensor, end_x: Tensor, end_y: Tensor) -> tuple[Tensor, Tensor]:
    """A curve of four pieces from the hip, and the tuft at its end."""
    start, bend, end = (hip - 4, -3.0), (end_x + 1, end_y * 0.1 + 4), (end_x, end_y)

    def point(t: float) -> tuple[Tensor, Tensor]:
        a, b, c = (1 - t) ** 2, 2 * t * (1 - t), t * t
        return a * start[0] + b * bend[0] + c * end[0], a * start[1] + b * bend[1] + c * end[1]

    points = [point(i / 4) for i in range(5)]
    tail = capsule(x, y, points[0], points[1], 1.7)
    for a, b in pairwise(points[1:]):
        tail = torch.minimum(tail, capsule(x, y, a, b, 1.5))
    return tail, circle(x - end_x, y - end_y, 2.3)


def _body_marks(
    canvas: Canvas,
    coat: Tensor,
    tail: Tensor,
    x: Tensor,
    y: Tensor,
    palette: Palette,
    styles: Tensor,
    texture: Tensor,
) -> None:
    if bool(_is(styles, SPOTTED).any()):
        spots, _, _ = scatter(canvas, texture, 6.6, (1.5, 2.1), 0.92)
        canvas.paint(torch.maximum(coat, tail) * canvas.cover(spots) * _is(styles, SPOTTED), palette["mark"])
    striped = _is(styles, TIGER) | _is(styles, ZEBRA)
    if bool(striped.any()):
        zebra = _is(styles, ZEBRA)
        phase, width = texture[:, 0, :1, None], texture[:, 1, :1, None]
        bent = x + 0.012 * y.square() * either(zebra, 1.0, 2.0) + (y * 0.35 + 6 * phase).sin()
        taper = either(zebra, 0.0, 2.4) * ramp(y, -2.0, 6.0)
        upright = stripes(
            bent, either(zebra, 5.8, 6.2), 2.0 + 0.5 * width + either(zebra, 0.6, 0.0) - taper, phase
        )
        level = stripes(y + 0.3 * x, 4.8, 2.0, phase)
        pattern = torch.where(y > 7.5, level, upright)
        canvas.paint(coat * canvas.cover(pattern) * striped, palette["mark"])
        rings = stripes(x + y, 5.0, 2.0, phase)
        canvas.paint(tail * (1 - coat) * canvas.cover(rings) * striped, palette["mark"])


def _body_face_marks(
    canvas: Canvas, head: Tensor, x: Tensor, y: Tensor, palette: Palette, styles: Tensor, texture: Tensor
) -> None:
    striped = _is(styles, TIGER) | _is(styles, ZEBRA)
    if bool(striped.any()):
        bands = stripes(x - 0.4 * y, 4.8, 1.8, 0.2 * texture[:, 0, :1, None])
        canvas.paint(head * canvas.cover(torch.maximum(bands, x + 0.3)) * striped, palette["mark"])
