"""ICC profiles made by hand, each so wrong that a reader who ignores it is found out."""

import struct

Tags = list[tuple[bytes, bytes]]
D50 = (0.9642, 1.0, 0.8249)
SRGB = {
    b"rXYZ": (0.4360747, 0.2225045, 0.0139322),
    b"gXYZ": (0.3850649, 0.7168786, 0.0971045),
    b"bXYZ": (0.1430804, 0.0606169, 0.7141733),
}


def swapped_rgb() -> bytes:
    """Its red is sRGB's green and the other way round."""
    columns = {**SRGB, b"rXYZ": SRGB[b"gXYZ"], b"gXYZ": SRGB[b"rXYZ"]}
    curves = [(name, _gamma(2.2)) for name in (b"rTRC", b"gTRC", b"bTRC")]
    return _profile(b"RGB ", [(name, _xyz(value)) for name, value in columns.items()] + curves)


def linear_gray() -> bytes:
    """Half the level is half the light."""
    return _profile(b"GRAY", [(b"kTRC", _gamma(1.0))])


def red_cyan() -> bytes:
    """CMYK whose cyan ink prints red."""
    white, red, black = (255, 128, 128), (136, 208, 195), (0, 128, 128)  # Lab
    inks = [(c, k) for c in (0, 1) for _ in range(4) for k in (0, 1)]
    grid = bytes(level for c, k in inks for level in (black if k else red if c else white))
    ramp = bytes(range(256))
    identity = struct.pack(">9i", *(65536 * (i % 4 == 0) for i in range(9)))
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + identity + ramp * 4 + grid + ramp * 3
    return _profile(b"CMYK", [(b"A2B0", table)], space=b"Lab ", kind=b"prtr")


def _profile(colors: bytes, tags: Tags, space: bytes = b"XYZ ", kind: bytes = b"mntr") -> bytes:
    tags = [*tags, (b"wtpt", _xyz(D50)), (b"desc", _text(b"desc", b"a test"))]
    offset = 128 + 4 + 12 * len(tags)
    table, data = struct.pack(">I", len(tags)), b""
    for name, content in tags:
        table += name + struct.pack(">II", offset + len(data), len(content))
        data += content + bytes(-len(content) % 4)
    head = struct.pack(">I4sI", offset + len(data), b"test", 0x02400000) + kind + colors + space
    head += bytes(12) + b"acsp" + bytes(28) + _xyz(D50)[8:]
    return head.ljust(128, b"\0") + table + data


def _xyz(value: tuple[float, float, float]) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(v * 65536) for v in value))


def _gamma(gamma: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))


def _text(kind: bytes, text: bytes) -> bytes:
    return kind + bytes(4) + struct.pack(">I", len(text) + 1) + text + b"\0" + bytes(79)
