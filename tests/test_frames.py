"""Films and views in files: animated images, video files, folders of frames, and poses."""

import json
import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffuseit.errors import InputError
from diffuseit.frames.animation import Animation, save_animation
from diffuseit.frames.base import Frame, Range
from diffuseit.frames.folder import FrameFolder, natural
from diffuseit.frames.video import Video, check_video, save_video
from diffuseit.frames.views import Views
from diffuseit.images.io import Picture

av = pytest.importorskip("av")

SIZE = (48, 32)
"""Width and height."""


def picture(number: int, size: tuple[int, int] = SIZE) -> Image.Image:
    """A picture with a bright bar, which moves with the number."""
    image = Image.new("RGB", size, (40, 80, 160))
    image.paste((250, 220, 40), (number % 30, 4, number % 30 + 12, 28))
    return image


def frames_of(durations: Sequence[float], size: tuple[int, int] = SIZE) -> list[Frame]:
    starts = [sum(map(Fraction, durations[:number])) for number in range(len(durations))]
    return [
        Frame(Picture(picture(number, size)), Fraction(start), Fraction(duration))
        for number, (start, duration) in enumerate(zip(starts, durations, strict=True))
    ]


def milliseconds(frames: Sequence[Frame]) -> list[int]:
    return [round(frame.duration * 1000) for frame in frames]


def film(
    path: Path, count: int = 12, *, varies: bool = False, sound: str | None = "aac", full: bool = False
) -> Path:
    """A video file, in full or limited range, with a tone, whose frames last 40 ms, or every third one 120."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25, options={"crf": "4"})
        stream.width, stream.height = SIZE
        stream.pix_fmt, stream.codec_context.time_base = "yuv420p", Fraction(1, 1000)
        context = stream.codec_context
        context.color_range, context.colorspace = 2 if full else 1, 5
        context.color_primaries, context.color_trc = 6, 6
        tone = None if sound is None else output.add_stream(sound, rate=48000)
        time = 0
        for number in range(count):
            rgb = av.VideoFrame.from_ndarray(np.asarray(picture(number)), format="rgb24")
            frame = rgb.reformat(format="yuv420p", dst_colorspace=5, dst_color_range=2 if full else 1)
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            output.mux(stream.encode(frame))
            time += 120 if varies and number % 3 == 0 else 40
        output.mux(stream.encode(None))
        if tone is not None:
            for start in range(0, time * 48, 1024):
                wave = np.sin((start + np.arange(1024)) * 0.05)[None].astype(np.float32)
                samples = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
                samples.sample_rate, samples.pts, samples.time_base = 48000, start, Fraction(1, 48000)
                output.mux(tone.encode(samples))
            output.mux(tone.encode(None))
    return path


def sound_of(path: Path) -> list[bytes]:
    with av.open(str(path)) as opened:
        return [bytes(packet) for packet in opened.demux(opened.streams.audio) if packet.size]


# --- Animated images --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
@pytest.mark.parametrize("plays", [0, 1, 3])
def test_an_animation_keeps_its_times_and_its_loop(tmp_path: Path, suffix: str, plays: int):
    file = tmp_path / f"film{suffix}"
    save_animation(frames_of([0.1, 0.05, 0.2, 0.07]), file, plays)
    found = Animation.open(file)
    assert found is not None
    assert (found.count, found.size, found.plays) == (4, SIZE[::-1], plays)
    frames = list(found.frames())
    assert milliseconds(frames) == [100, 50, 200, 70]
    assert frames[2].start == Fraction(15, 100)
    assert len(list(found.frames(3))) == 1


def test_times_that_a_gif_does_not_have_keep_the_length_of_the_whole(tmp_path: Path):
    file = tmp_path / "film.gif"
    save_animation(frames_of([1 / 24] * 24), file)
    found = Animation.open(file)
    assert found is not None
    assert sum(milliseconds(list(found.frames()))) == 1000


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_an_animation_keeps_what_is_transparent(tmp_path: Path, suffix: str):
    holes = [Image.new("L", SIZE, 0) for _ in range(3)]
    for number, hole in enumerate(holes):
        hole.paste(255, (8 * number, 0, 8 * number + 8, 32))
    frames = [Frame(Picture(picture(0), hole), Fraction(0), Fraction(1, 10)) for hole in holes]
    save_animation(frames, tmp_path / f"film{suffix}")
    found = Animation.open(tmp_path / f"film{suffix}")
    assert found is not None
    for number, frame in enumerate(found.frames()):
        assert frame.picture.alpha is not None
        assert frame.picture.alpha.getpixel((8 * number + 4, 16)) == 255
        assert frame.picture.alpha.getpixel(((8 * number + 20) % 48, 16)) == 0


def test_an_image_with_one_frame_is_no_animation(tmp_path: Path):
    picture(0).save(tmp_path / "one.gif")
    picture(0).save(tmp_path / "one.jpg")
    assert Animation.open(tmp_path / "one.gif") is None
    assert Animation.open(tmp_path / "one.jpg") is None


def test_a_damaged_frame_of_an_animation_is_named(tmp_path: Path):
    file = tmp_path / "film.png"
    save_animation(frames_of([0.1] * 5), file)
    content = bytearray(file.read_bytes())
    place = content.rindex(b"fdAT") + 8
    content[place : place + 8] = bytes(8)
    file.write_bytes(content)
    found = Animation.open(file)
    assert found is not None
    with pytest.raises(InputError, match="frame 4 of"):
        list(found.frames())


def test_an_animation_that_claims_too_many_frames_is_refused(tmp_path: Path):
    file = tmp_path / "film.png"
    save_animation(frames_of([0.1] * 3), file)
    content = file.read_bytes()
    place = content.index(b"acTL") + 4
    file.write_bytes(content[:place] + struct.pack(">I", 2**31 - 1) + content[place + 4 :])
    with pytest.raises(InputError, match=r"damaged|at most"):
        Animation.open(file)


# --- Video files ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
@pytest.mark.parametrize("full", [False, True])
def test_a_video_keeps_times_colors_and_sound(tmp_path: Path, suffix: str, full: bool):
    source = Video.open(film(tmp_path / "film.mp4", varies=True, full=full))
    assert (source.count, source.size, source.sound) == (12, SIZE[::-1], ("aac",))
    file = tmp_path / f"copy{suffix}"
    check_video(file, source.size, source)
    save_video(source.frames(), file, source.size, source, metadata={"diffuseit": "{}"})
    copy = Video.open(file)
    before, after = list(source.frames()), list(copy.frames())
    assert copy.colors == source.colors
    assert sound_of(file) == sound_of(source.path)
    assert milliseconds(after)[:-1] == milliseconds(before)[:-1] == [120, 40, 40] * 3 + [120, 40]
    for frame in (before[0], after[0], after[-1]):
        seen = np.asarray(frame.picture.rgb, float)
        # Away from edges, where color has half the resolution.
        assert np.abs(seen[8:24, 40:46] - (40, 80, 160)).max() <= 4
    bar = np.asarray(after[0].picture.rgb, float)[8:24, 2:10]
    assert np.median(np.abs(bar - (250, 220, 40))) <= 5


def test_a_part_of_a_video_begins_at_0_and_its_sound_too(tmp_path: Path):
    source = Video.open(film(tmp_path / "film.mp4", 25))
    part = [frame for number, frame in enumerate(source.frames()) if 10 <= number < 15]
    save_video(part, tmp_path / "part.mp4", source.size, source, cut=True)
    frames = list(Video.open(tmp_path / "part.mp4").frames())
    assert (len(frames), frames[0].start) == (5, 0)
    assert 8 <= len(sound_of(tmp_path / "part.mp4")) <= 11  # 0.2 s of packets of 21 ms


def test_a_telephone_that_lay_on_its_side(tmp_path: Path):
    file = film(tmp_path / "film.mp4", sound=None)
    content = bytearray(file.read_bytes())
    place = content.index(b"tkhd") + 4 + 40  # of its matrix
    turned = (0, 1 << 16, 0, -(1 << 16), 0, 0, SIZE[1] << 16, 0, 1 << 30)
    content[place : place + 36] = struct.pack(">9i", *turned)
    file.write_bytes(content)
    video = Video.open(file)
    assert video.size == SIZE
    # Turned clockwise, the bar at the left end is at the top.
    upright = next(video.frames()).picture.rgb
    assert upright.getpixel((16, 4))[0] > 200 > upright.getpixel((16, 40))[0]


def test_a_container_that_cannot_hold_the_sound_is_refused_before_the_run(tmp_path: Path):
    source = Video.open(film(tmp_path / "film.mp4"))
    with pytest.raises(InputError, match=r"cannot hold the sound .*aac.*\.mkv"):
        check_video(tmp_path / "film.webm", source.size, source)


def test_a_video_damaged_in_the_middle_gives_what_is_before_and_names_the_frame(tmp_path: Path):
    file = film(tmp_path / "film.mp4", 60, sound=None)
    content = bytearray(file.read_bytes())
    with av.open(str(file)) as opened:
        middle = [packet.pos for packet in opened.demux(video=0) if packet.size][30]
    content[middle : middle + 400] = bytes(400)
    file.write_bytes(content)
    good: list[Frame] = []
    with pytest.raises(InputError, match=r"frame \d+ of .*film.mp4 is damaged") as error:
        good.extend(Video.open(file).frames())
    assert 20 <= len(good) <= 40
    assert f"frame {len(good)} of" in str(error.value)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"#EXTM3U\n#EXTINF:10,\n/etc/passwd\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"v=0\r\nc=IN IP4 10.0.0.1\r\n",
    ],
    ids=["empty", "playlist", "list", "session"],
)
def test_a_file_that_is_no_video_is_refused(tmp_path: Path, content: bytes):
    file = tmp_path / "film.mp4"
    file.write_bytes(content)
    with pytest.raises(InputError, match="no video file"):
        Video.open(file)


def test_a_film_without_frames_is_refused(tmp_path: Path):
    file = tmp_path / "sound.mp4"
    with av.open(str(file), "w") as output:
        tone = output.add_stream("aac", rate=48000)
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        samples.sample_rate, samples.pts, samples.time_base = 48000, 0, Fraction(1, 48000)
        output.mux(tone.encode(samples))
        output.mux(tone.encode(None))
    with pytest.raises(InputError, match="no frames"):
        Video.open(file)


def test_odd_sides_are_written(tmp_path: Path):
    save_video(frames_of([0.1] * 3, (33, 21)), tmp_path / "odd.mp4", (21, 33))
    assert Video.open(tmp_path / "odd.mp4").size == (21, 33)


# --- Folders ----------------------------------------------------------------------------------------------------


def test_frames_are_in_the_order_of_their_numbers(tmp_path: Path):
    for number in (10, 9, 100, 1):
        picture(number).save(tmp_path / f"frame{number}.png")
    found = FrameFolder.open(tmp_path, Fraction(25))
    assert [file.stem for file in found.files] == ["frame1", "frame9", "frame10", "frame100"]
    assert [frame.start for frame in found.frames()] == [0, Fraction(1, 25), Fraction(2, 25), Fraction(3, 25)]
    assert natural("a2b") < natural("a10b")


def test_frames_of_several_sizes_are_refused(tmp_path: Path):
    picture(0).save(tmp_path / "1.png")
    picture(0, (40, 32)).save(tmp_path / "2.png")
    with pytest.raises(InputError, match=r"2\.png is 40x32 pixels.*48x32"):
        FrameFolder.open(tmp_path, Fraction(25))


def test_ranges_of_frames():
    assert Range.parse("3:8").within(10, "film") == range(3, 8)
    assert Range.parse(":8").within(5, "film") == range(5)
    assert Range.parse("3:").within(5, "film") == range(3, 5)
    for wrong in ("3", "8:3", "3:3", "-1:4", "a:b", "1:2:3", ""):
        with pytest.raises(InputError):
            Range.parse(wrong)
    with pytest.raises(InputError, match="5 frames"):
        Range.parse("5:").within(5, "film")


# --- Views ------------------------------------------------------------------------------------------------------


def colmap(folder: Path, poses: Sequence[str], camera: str = "PINHOLE 48 32 40 40 24 16") -> Path:
    (folder / "images").mkdir(parents=True)
    (folder / "sparse").mkdir()
    (folder / "sparse" / "cameras.txt").write_text(f"# comment\n1 {camera}\n")
    lines = []
    for number, pose in enumerate(poses):
        picture(number).save(folder / "images" / f"{number}.png")
        lines += [f"{number + 1} {pose} 1 {number}.png", "1.5 2.5 -1" if number % 2 else ""]
    (folder / "sparse" / "images.txt").write_text("\n".join(lines) + "\n")
    return folder


def transforms(folder: Path, matrices: Sequence[object], **more: object) -> Path:
    (folder / "images").mkdir(parents=True)
    frames = []
    for number, matrix in enumerate(matrices):
        picture(number).save(folder / "images" / f"{number}.png")
        frames.append({"file_path": f"images/{number}.png", "transform_matrix": matrix})
    values = {"fl_x": 40, "fl_y": 40, "cx": 24, "cy": 16, "w": 48, "h": 32, "frames": frames} | more
    (folder / "transforms.json").write_text(json.dumps(values))
    return folder


def test_both_kinds_of_poses_say_the_same(tmp_path: Path):
    # A camera that has gone 2 to the right: COLMAP maps the world to it, and transforms.json maps it to the world.
    one = Views.open(colmap(tmp_path / "a", ["1 0 0 0 0 0 0", "1 0 0 0 -2 0 0"]))
    moved = [[1, 0, 0, 2], [0, -1, 0, 0], [0, 0, -1, 0], [0, 0, 0, 1]]
    still = [[1, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 0], [0, 0, 0, 1]]
    two = Views.open(transforms(tmp_path / "b", [still, moved]))
    for a, b in zip(one.views, two.views, strict=True):
        assert a.name == b.name
        np.testing.assert_allclose(a.extrinsics, b.extrinsics, atol=1e-12)
        np.testing.assert_allclose(a.intrinsics, b.intrinsics)
    assert one.views[1].extrinsics[0, 3] == -2
    assert one.copied == ("sparse/cameras.txt", "sparse/images.txt")
    assert (one.count, one.size, one.have_depth) == (2, SIZE[::-1], False)


@pytest.mark.parametrize("pose", ["nan 0 0 0 0 0 0", "0 0 0 0 0 0 0", "1 0 0 0 inf 0 0", "1 0 0 0 0 0 x"])
def test_poses_of_colmap_that_cannot_be_used(tmp_path: Path, pose: str):
    with pytest.raises(InputError) as error:
        Views.open(colmap(tmp_path / "a", ["1 0 0 0 0 0 0", pose]))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "matrix",
    [np.zeros((4, 4)).tolist(), [[1, 2], [3, 4]], "text", [[1e400] * 4] * 4, [[1, 1, 0, 0]] * 4, None],
)
def test_poses_of_transforms_that_cannot_be_used(tmp_path: Path, matrix: object):
    with pytest.raises(InputError) as error:
        Views.open(transforms(tmp_path / "b", [np.diag([1, -1, -1, 1]).tolist(), matrix]))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "name", ["../secret.png", "/etc/passwd", "C:/x.png", "images/0.svg", "images/none.png", "", 3]
)
def test_files_outside_the_folder_are_not_read(tmp_path: Path, name: object):
    picture(0).save(tmp_path / "secret.png")
    folder = transforms(tmp_path / "b", [np.eye(4).tolist()])
    values = json.loads((folder / "transforms.json").read_text())
    values["frames"][0]["file_path"] = name
    (folder / "transforms.json").write_text(json.dumps(values))
    with pytest.raises(InputError):
        Views.open(folder)


def test_depth_maps_are_read_with_their_unit(tmp_path: Path):
    folder = colmap(tmp_path / "a", ["1 0 0 0 0 0 0", "1 0 0 0 -2 0 0"])
    (folder / "depth").mkdir()
    np.save(folder / "depth" / "0.npy", np.full((32, 48), 2.5, np.float32))
    Image.fromarray(np.full((32, 48), 2500, np.uint16)).save(folder / "depth" / "1.png")
    views = Views.open(folder)
    assert views.have_depth
    for number in range(2):
        np.testing.assert_allclose(views.depth_of(number), 2.5, rtol=1e-6)
    np.save(folder / "depth" / "0.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(InputError, match="no array of numbers"):
        views.depth_of(0)


def test_depth_maps_of_a_distorted_camera_are_refused(tmp_path: Path):
    views = Views.open(colmap(tmp_path / "a", ["1 0 0 0 0 0 0"] * 2, "SIMPLE_RADIAL 48 32 40 24 16 0.1"))
    with pytest.raises(InputError, match="distortion"):
        views.check_depth()
