"""`diffuseit translate` on films and views, with a stand-in for the networks that inverts colors."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from flow_files import save_both_ways
from PIL import Image
from standin import MODELS
from test_frames import SIZE, colmap, film, frames_of, milliseconds, picture, sound_of
from translate_command import good, refused, run

import diffuseit
import diffuseit.film
from diffuseit.cli.job import Job
from diffuseit.correspondence import Correspondence
from diffuseit.evaluation.verdict import Verdict
from diffuseit.film import Frame
from diffuseit.frames.animation import Animation, save_animation
from diffuseit.frames.video import Video
from diffuseit.images.io import read_text
from diffuseit.models.hub.catalog import entry_named
from diffuseit.presets import Preset


@pytest.fixture(autouse=True)
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[SimpleNamespace]:
    """What each call of the core was given. `stop_at` of the list's function ends a run like Ctrl-C."""
    monkeypatch.chdir(tmp_path)
    recorded: list[SimpleNamespace] = []

    def translate(
        backbone: object,
        frames: Iterable[torch.Tensor],
        losses: object,
        settings: object,
        seed: int,
        *,
        link: Callable[[range, torch.Tensor], Correspondence],
        first: int,
        finished: Callable[[int], torch.Tensor | None],
        **others: object,
    ) -> Iterator[Frame]:
        call = SimpleNamespace(link=link, first=first, made=[], size=None, **others)
        recorded.append(call)
        for index, frame in enumerate(frames, start=first):
            call.size = tuple(frame.shape[1:])
            if finished(index) is None:
                if STOP_AT and index == STOP_AT[0]:
                    raise KeyboardInterrupt
                call.made.append(index)
                yield Frame(index, -frame, index == 5, 0.25)

    monkeypatch.setattr(diffuseit, "load_models", lambda name: MODELS, raising=False)
    monkeypatch.setattr(diffuseit.film, "translate_sequence", translate)
    monkeypatch.setattr(Preset, "build", lambda *_: [])
    STOP_AT.clear()
    return recorded


STOP_AT: list[int] = []


def is_inverted(image: Image.Image) -> bool:
    """Whether the part without the bar has the colors of an inverted frame."""
    found = np.asarray(image.convert("RGB"), float)[8:24, 44:47].mean((0, 1))
    return bool(np.abs(found - (215, 175, 95)).max() < 16)


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_an_animated_image_comes_back_animated(suffix: str):
    save_animation(frames_of([0.1, 0.05, 0.2]), Path(f"film{suffix}"), 3)
    good(f"film{suffix}", "--to", "snow")
    result = Animation.open(Path(f"film-translated{suffix}"))
    assert result is not None
    assert (result.count, result.plays, result.size) == (3, 3, SIZE[::-1])
    frames = list(result.frames())
    assert milliseconds(frames) == [100, 50, 200]
    assert all(is_inverted(frame.picture.rgb) for frame in frames)
    assert not Path(f"film-translated{suffix}-frames").exists()


def test_a_still_image_of_an_animated_one_is_its_first_frame(monkeypatch: pytest.MonkeyPatch):
    save_animation(frames_of([0.1, 0.1]), Path("film.gif"))
    monkeypatch.setattr(diffuseit, "translate", lambda source, **_: diffuseit.Result(-source))
    assert "several frames" in good("film.gif", "--to", "snow", "-o", "out.jpg").stderr


def test_a_video_keeps_its_times_and_its_sound(calls: list[SimpleNamespace]):
    film(Path("film.mp4"), varies=True)
    said = good("film.mp4", "--to", "snow", "-o", "winter.mp4")
    result = Video.open(Path("winter.mp4"))
    frames = list(result.frames())
    assert milliseconds(frames)[:-1] == [120, 40, 40] * 3 + [120, 40]
    assert sound_of(Path("winter.mp4")) == sound_of(Path("film.mp4"))
    assert result.size == SIZE[::-1]
    assert is_inverted(frames[7].picture.rgb)
    assert calls[0].size == (48, 72)  # the canvas of the model
    assert "12 frames, 48x32" in said.stdout
    assert "Frame 5 begins a new scene" in said.stderr


def test_a_part_of_a_film():
    film(Path("film.mp4"), 20)
    good("film.mp4", "--to", "snow", "-o", "part.mp4", "--frames", "5:9")
    frames = list(Video.open(Path("part.mp4")).frames())
    assert (len(frames), frames[0].start) == (4, 0)


def test_a_run_that_was_stopped_goes_on(calls: list[SimpleNamespace]):
    film(Path("film.mp4"), 12)
    STOP_AT.append(7)
    result = run("film.mp4", "--to", "snow", "-o", "out.mp4")
    assert result.exit_code == 130
    assert "7 of 12 frames are kept in out.mp4-frames. The same command goes on" in result.stderr
    assert not Path("out.mp4").exists()
    # A film of what is there loses nothing.
    good("film.mp4", "--to", "snow", "-o", "out.mp4", "--frames", ":4")
    assert Video.open(Path("out.mp4")).count == 4
    assert "other settings" in refused("film.mp4", "--to", "sand", "-o", "out.mp4")
    STOP_AT.clear()
    good("film.mp4", "--to", "snow", "-o", "out.mp4")
    assert calls[-1].made == [7, 8, 9, 10, 11]
    assert calls[-1].first <= 3  # for what the frames have in common
    assert Video.open(Path("out.mp4")).count == 12
    assert not Path("out.mp4-frames").exists()


def test_a_broken_frame_is_named_and_the_frames_before_it_are_kept():
    folder = Path("frames")
    folder.mkdir()
    for number in range(6):
        picture(number).save(folder / f"{number}.png")
    content = (folder / "4.png").read_bytes()
    (folder / "4.png").write_bytes(content[:60] + bytes(40))
    result = run("frames", "--to", "snow", "--as", "film", "-o", "out")
    assert result.exit_code == 2
    assert "Error: frame 4: frames/4.png is damaged" in result.stderr
    assert "4 of 6 frames are kept in out-frames: --frames 0:4 makes a film of the first 4" in result.stderr
    good("frames", "--to", "snow", "--as", "film", "-o", "out", "--frames", "0:4")
    saved = ["0.png", "1.png", "2.png", "3.png", "verdicts.csv"]
    assert sorted(file.name for file in Path("out").iterdir()) == saved
    assert "part of a film" in refused("--again", "out/0.png", "frames/0.png")


def test_frames_of_a_folder_become_a_video():
    folder = Path("frames")
    folder.mkdir()
    for number in range(11):
        picture(number).save(folder / f"f{number}.png")
    good("frames", "--to", "snow", "-o", "out.mp4", "--as", "film", "--fps", "10")
    frames = list(Video.open(Path("out.mp4")).frames())
    assert [frame.start for frame in frames] == [Fraction(number, 10) for number in range(11)]


def test_views_keep_their_names_and_poses(calls: list[SimpleNamespace]):
    folder = colmap(Path("scene"), ["1 0 0 0 0 0 0", "1 0 0 0 -0.5 0 0", "1 0 0 0 -1 0 0"])
    (folder / "depth").mkdir()
    for number in range(3):
        np.save(folder / "depth" / f"{number}.npy", np.full((32, 48), 2.0, np.float32))
    good("scene", "--to", "snow", "-o", "winter")
    for number in range(3):
        with Image.open(f"winter/images/{number}.png") as result:
            assert result.size == SIZE
            assert is_inverted(result)
    for name in ("cameras.txt", "images.txt"):
        assert (Path("winter/sparse") / name).read_bytes() == (folder / "sparse" / name).read_bytes()
    # By depth: with a focal length of 40, a camera that goes .5 to the right moves points at a depth of 2 by 10.
    link = calls[0].link(range(3), torch.zeros(3, 3, *calls[0].size))
    first = link.pairs.index((0, 1))
    scale = calls[0].size[1] / 48
    x = link.position[first, 0, 24]
    assert torch.allclose(x[30:60], torch.arange(30.0, 60.0) - 10 * scale, atol=0.7)
    assert link.certainty[first, 0, 24, 30:60].min() > 0.99
    assert "size of SOURCE" in refused("scene", "--to", "snow", "-o", "other", "--size", "model")


def test_a_folder_with_poses_may_still_be_single_images():
    (colmap(Path("scene"), ["1 0 0 0 0 0 0"]) / "images" / "0.png").rename("scene/0.png")
    assert "no images" not in run("scene", "--to", "snow", "--as", "images").stderr


def test_a_film_by_the_flow_of_files(calls: list[SimpleNamespace]):
    save_animation(frames_of([0.1] * 4), Path("film.png"))
    motion = torch.zeros(3, 2, *SIZE[::-1])
    motion[:, 0] = 4
    save_both_ways(Path("flow"), motion, -motion)
    good("film.png", "--to", "snow", "--flow", "flow", "-o", "out.png")
    width = calls[0].size[1]
    link = calls[0].link(range(1, 4), torch.zeros(3, 3, *calls[0].size))
    assert link.position[link.pairs.index((0, 1)), 0, 24, 30].item() == pytest.approx(30 + 4 * width / 48)
    assert link.position[link.pairs.index((2, 1)), 0, 24, 30].item() == pytest.approx(30 - 4 * width / 48)
    text = json.loads(read_text(Path("out.png")) or "")
    assert text["film"]["flow"] == "files"


def test_other_flow_is_another_film():
    film(Path("film.mp4"), 12)
    save_both_ways(Path("flow"), *torch.zeros(2, 11, 2, *SIZE[::-1]))
    STOP_AT.append(7)
    run("film.mp4", "--to", "snow", "-o", "out.mp4")
    assert "other settings" in refused("film.mp4", "--to", "snow", "-o", "out.mp4", "--flow", "flow")


def test_flow_that_cannot_be_used_is_said_before_networks_are_loaded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(diffuseit, "load_models", lambda name: pytest.fail("loaded"), raising=False)
    monkeypatch.setenv("DIFFUSEIT_MODELS", str(Path("models").absolute()))
    film(Path("film.mp4"))
    picture(0).save("one.png")
    save_both_ways(Path("flow"), *torch.zeros(2, 4, 2, *SIZE[::-1]))
    save_both_ways(Path("small"), *torch.zeros(2, 11, 2, 8, 8))
    Path("empty").mkdir()
    for given, why in {
        "flow": "has 4 files for each direction, and there are 12 frames",
        "small": "for 8x8 pixels, and the frames have 48x32",
        "empty": "empty has no flow",
        "nowhere": "give dis, raft, or a folder",
        "raft": "run `diffuseit models download raft-large`",
    }.items():
        assert why in refused("film.mp4", "--to", "snow", "--flow", given)
    assert "films and views" in refused("one.png", "--to", "snow", "--flow", "dis")


def test_the_flow_of_raft(calls: list[SimpleNamespace], monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    from torchvision.models.optical_flow import raft_large

    models = tmp_path / "models"
    models.mkdir()
    monkeypatch.setenv("DIFFUSEIT_MODELS", str(models))
    # Random weights: what they find is nothing, and the run shows that it gets there.
    torch.save(raft_large(weights=None).state_dict(), models / entry_named("raft-large").file)
    save_animation(frames_of([0.1, 0.1]), Path("film.png"))
    good("film.png", "--to", "snow", "--flow", "raft", "-o", "out.png")
    frames = torch.zeros(2, 3, *calls[0].size)
    assert calls[0].link(range(2), frames).pairs == [(0, 1), (1, 0)]
    assert json.loads(read_text(Path("out.png")) or "")["film"]["flow"] == "raft"


def test_what_a_film_says_of_its_making():
    save_animation(frames_of([0.1, 0.1]), Path("film.webp"))
    good("film.webp", "--to", "snow", "--consensus", "0.5")
    text = json.loads(read_text(Path("film-translated.webp")) or "")
    assert (text["to"], text["film"]["settings"]["consensus"], text["film"]["frames"]) == ("snow", 0.5, 2)
    film(Path("film.mp4"), 3)
    good("film.mp4", "--to", "snow", "-o", "out.mkv")
    import av

    with av.open("out.mkv") as opened:
        assert "compositeWithTrained" in opened.metadata["DIGITALSOURCETYPE"]
        assert json.loads(opened.metadata["DIFFUSEIT"])["seed"] == 0


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("film.mp4", "--variations", 2), "--variations"),
        (("film.mp4", "--shard", "1/2"), "--shard"),
        (("film.mp4", "--fps", 12), "--fps"),
        (("film.mp4", "--frames", "9:3"), "--frames"),
        (("film.mp4", "--frames", "50:"), "12 frames"),
        (("film.mp4", "--as", "views"), "no folder"),
        (("film.mp4", "-o", "out.txt"), "cannot hold a film"),
        (("film.mp4", "-o", "film.mp4"), "the source itself"),
        (("film.mp4", "-o", "out.webm"), "cannot hold the sound"),
        (("one.png", "--frames", "0:3"), "one image"),
        (("one.png", "--consensus", 0.5), "films"),
        (("empty", "--as", "film"), "no images"),
        (("empty", "--as", "views"), "transforms.json"),
    ],
)
def test_what_contradicts_a_film_is_said_at_once(options: tuple[object, ...], why: str):
    film(Path("film.mp4"))
    picture(0).save("one.png")
    Path("empty").mkdir()
    arguments = options if "--shard" not in options else ("film.mp4", "--shard", "1/2")
    assert why in refused(*arguments, "--to", "snow")
    assert sorted(path.name for path in Path().iterdir()) == ["empty", "film.mp4", "one.png"]


def test_a_film_gets_a_verdict(calls: list[SimpleNamespace], monkeypatch: pytest.MonkeyPatch):
    def verdicts(job: Job, results: torch.Tensor, arguments: dict[str, torch.Tensor]) -> list[Verdict]:
        assert torch.equal(results, -arguments["source"])  # each result beside its own source
        return [Verdict(True, None, True, 0.9)]

    monkeypatch.setattr(Job, "verdicts", verdicts)
    film(Path("film.mp4"), 12)
    STOP_AT.append(7)
    run("film.mp4", "--to", "snow", "-o", "out.mkv")
    STOP_AT.clear()
    said = good("film.mp4", "--to", "snow", "-o", "out.mkv").stdout
    assert "s): structure kept, in place, warp error 0.2500\n" in said
    with Path("out.mkv-verdicts.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["frame"] for row in rows] == list(map(str, range(12)))
    assert {row["structure_kept"] for row in rows} == {"true"}
    import av

    with av.open("out.mkv") as opened:
        verdict = json.loads(opened.metadata["DIFFUSEIT"])["verdict"]
    assert (verdict["lost_frames"], verdict["warp_error"]) == (0, 0.25)
    # Another film of that name replaces the table, and parts in one folder share it.
    good("film.mp4", "--to", "snow", "-o", "out.mkv", "--frames", "3:5")
    assert len(Path("out.mkv-verdicts.csv").read_text().splitlines()) == 3
    Path("frames").mkdir()
    for number in range(4):
        picture(number).save(f"frames/{number}.png")
    for part in ("0:2", "2:4"):
        good("frames", "--to", "snow", "--as", "film", "-o", "out", "--frames", part)
    assert len(Path("out/verdicts.csv").read_text().splitlines()) == 5


def test_a_table_of_somebody_else_stays():
    save_animation(frames_of([0.1, 0.1]), Path("film.webp"))
    Path("out.webp-verdicts.csv").write_text("mine\n")
    said = good("film.webp", "--to", "snow", "-o", "out.webp")
    assert "no verdicts are kept: out.webp-verdicts.csv is another table" in said.stderr
    assert Path("out.webp-verdicts.csv").read_text() == "mine\n"


def test_nothing_that_is_there_is_overwritten_by_frames():
    Path("frames").mkdir()
    Path("out").mkdir()
    for number in range(3):
        picture(number).save(f"frames/{number}.png")
    picture(9).save("out/1.png")
    assert "out/1.png is there already" in refused("frames", "--to", "snow", "--as", "film", "-o", "out")
