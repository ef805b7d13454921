"""OpenEXR files: their channels, and files that are broken or hostile."""

import struct

import numpy as np
import pytest

from diffuseit.errors import InputError
from diffuseit.images.exr import exr_size, read_exr

OpenEXR = pytest.importorskip("OpenEXR")


def write(path, channels, **header):
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage} | header
    OpenEXR.File(header, dict(channels)).write(str(path))
    return path


def ramp(height=9, width=7, kind=np.float32):
    return np.linspace(-2, 60, height * width).reshape(height, width).astype(kind)


def with_window(path, window):
    """The same file, with other numbers as its data window."""
    content = bytearray(path.read_bytes())
    sign = b"dataWindow\0box2i\0"
    at = content.index(sign) + len(sign) + 4
    content[at : at + 16] = struct.pack("<4i", *window)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("compression", ["NO", "RLE", "ZIPS", "ZIP", "PIZ"])
def test_channels_come_back_in_their_own_types(tmp_path, compression):
    sent = {
        "ViewLayer.Vector.X": ramp(),
        "R": ramp(kind=np.float16),
        "Id": np.full((9, 7), 2**32 - 1, np.uint32),
    }
    sent["R"][0, 0], sent["R"][0, 1] = np.nan, np.inf
    path = write(tmp_path / "a.exr", sent, compression=getattr(OpenEXR, f"{compression}_COMPRESSION"))
    found = read_exr(path)
    assert exr_size(path) == (9, 7)
    assert set(found) == set(sent)
    for name, pixels in sent.items():
        assert found[name].dtype == pixels.dtype
        np.testing.assert_array_equal(found[name], pixels)


def test_parts_are_read_together(tmp_path):
    path = tmp_path / "parts.exr"
    OpenEXR.File(
        [
            OpenEXR.Part({"name": "left"}, {"Z": ramp(), "X": ramp()}),
            OpenEXR.Part({"name": "right"}, {"Z": ramp() + 1}),
        ]
    ).write(str(path))
    found = read_exr(path)
    assert set(found) == {"left.Z", "X", "right.Z"}
    np.testing.assert_array_equal(found["right.Z"], ramp() + 1)


def test_a_part_of_the_canvas_lies_at_its_place(tmp_path):
    path = write(
        tmp_path / "crop.exr",
        {"Y": ramp()},
        dataWindow=(np.array([3, -2], np.int32), np.array([9, 6], np.int32)),
        displayWindow=(np.array([0, 0], np.int32), np.array([19, 9], np.int32)),
    )
    with pytest.warns(UserWarning, match="outside its display window"):
        found = read_exr(path)["Y"]
    expected = np.zeros((10, 20), np.float32)
    expected[:7, 3:10] = ramp()[2:]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("window", "words"),
    [
        ((0, 0, 99_999, 99_999), "make it smaller"),
        ((0, 0, 12_000, 12_000), "in a file of"),
        ((-(2**31), 0, 2**31 - 1, 5), "damaged"),
        ((50, 50, 56, 58), "no pixels in its display window"),
    ],
)
def test_a_window_that_cannot_be_is_refused_before_pixels_are_decoded(tmp_path, window, words):
    path = with_window(write(tmp_path / "claim.exr", {"R": ramp()}), window)
    with pytest.raises(InputError, match=words):
        read_exr(path)


@pytest.mark.parametrize("rest", [3, 60, 0.5, 0.99])
def test_what_is_cut_off_is_refused_in_one_line(tmp_path, capfd, rest):
    path = write(tmp_path / "cut.exr", {"R": ramp(200, 200)})
    content = path.read_bytes()
    path.write_bytes(content[: int(rest * len(content) if rest < 1 else rest)])
    with pytest.raises(InputError, match=r"cut\.exr .*save or download it again") as raised:
        read_exr(path)
    assert "\n" not in str(raised.value)
    assert capfd.readouterr() == ("", "")


def test_subsampled_and_deep_pixels_are_refused(tmp_path):
    path = write(tmp_path / "chroma.exr", {"BY": ramp(10, 8)})
    content = path.read_bytes()
    once, twice = (b"BY\0" + struct.pack("<iiii", 2, 0, step, step) for step in (1, 2))
    assert once in content
    path.write_bytes(content.replace(once, twice))
    with pytest.raises(InputError, match="subsampled"):
        read_exr(path)
    deep = np.empty((2, 2), object)
    for at in np.ndindex(2, 2):
        deep[at] = np.ones(3, np.float32)
    path = write(
        tmp_path / "deep.exr", {"Z": deep}, type=OpenEXR.deepscanline, compression=OpenEXR.ZIPS_COMPRESSION
    )
    with pytest.raises(InputError, match="deep"):
        read_exr(path)


def test_names_and_bytes_of_strangers_do_no_harm(tmp_path, capfd):
    """One byte of the header after the other is changed."""
    path = write(tmp_path / "a.exr", {"R": ramp(), "G": ramp(), "B": ramp()})
    content = path.read_bytes()
    said = []
    for at in range(4, 340, 7):
        path.write_bytes(content[:at] + b"\x9b" + content[at + 1 :])
        try:
            read_exr(path)
        except InputError as error:
            said.append(str(error))
    assert len(said) > 10 and all(map(str.isprintable, said))
    assert capfd.readouterr() == ("", "")


def test_other_files_are_refused(tmp_path):
    for name, content in (("empty.exr", b""), ("text.exr", b"no picture at all")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match="no OpenEXR file"):
            read_exr(tmp_path / name)
    for path in (tmp_path, tmp_path / "missing.exr"):
        with pytest.raises(InputError, match="cannot be opened"):
            read_exr(path)


def test_without_the_library_one_line_says_what_to_install(tmp_path, monkeypatch):
    path = write(tmp_path / "a.exr", {"R": ramp()})
    monkeypatch.setitem(__import__("sys").modules, "OpenEXR", None)
    with pytest.raises(InputError, match="run pip install OpenEXR"):
        read_exr(path)
