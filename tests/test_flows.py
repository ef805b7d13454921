"""Flow from files: the formats, their directions, and what is refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from flow_files import save_both_ways, save_exr, save_flo, save_vectors
from torch import Tensor

from diffuseit.correspondence import from_flow
from diffuseit.errors import InputError
from diffuseit.frames.flows import FlowFolder, read_flow, read_vectors
from diffuseit.frames.links import link_by_files
from diffuseit.images.resize import Fit
from diffuseit.pocket.models import pocket_ddpm
from diffuseit.pocket.world.canvas import Motion
from diffuseit.pocket.world.moving import Shot, shoot
from diffuseit.pocket.world.render import sample_geometry
from diffuseit.pocket.world.seeds import TUNING

COUNT = 4
SIZE = (64, 64)


@pytest.fixture(scope="module")
def shot() -> Shot:
    """A camera that turns and moves, and things that drift."""
    time = torch.arange(float(COUNT))
    motion = Motion(torch.stack([time, -0.5 * time], 1), 1.5 * time, time)
    return shoot(sample_geometry("landscape", [TUNING[0]]), motion)


@pytest.fixture(scope="module")
def exact(shot: Shot) -> tuple[Tensor, Tensor]:
    """The flow of each frame to the next one, and back."""
    first, second = list(range(COUNT - 1)), list(range(1, COUNT))
    return shot.flow(first, second), shot.flow(second, first)


def in_folders(folder: Path, forward: Tensor, backward: Tensor) -> None:
    save_both_ways(folder, forward, backward)


def in_folders_for_each_frame(folder: Path, forward: Tensor, backward: Tensor) -> None:
    nowhere = torch.full_like(forward[:1], 7.0)
    save_both_ways(folder, torch.cat([forward, nowhere]), torch.cat([nowhere, backward]))


def in_colors(folder: Path, forward: Tensor, backward: Tensor) -> None:
    for name, flows in (("forward", forward), ("backward", backward)):
        (folder / name).mkdir(parents=True)
        for number, flow in enumerate(flows.numpy()):
            channels = {"R": flow[0], "G": flow[1], "B": 0 * flow[0]}
            save_exr(folder / name / f"{number}.exr", channels)


def in_vectors(folder: Path, forward: Tensor, backward: Tensor) -> None:
    folder.mkdir()
    nowhere = torch.zeros_like(forward[:1])
    both = zip(torch.cat([forward, nowhere]), torch.cat([nowhere, backward]), strict=True)
    for number, (onward, back) in enumerate(both):
        save_vectors(folder / f"{number + 8}.exr", onward, back)


@pytest.mark.parametrize("save", [in_folders, in_folders_for_each_frame, in_colors, in_vectors])
def test_flow_from_files_is_the_exact_flow(
    save: Callable[[Path, Tensor, Tensor], None], exact: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    save(tmp_path / "flow", *exact)
    flows = FlowFolder.open(tmp_path / "flow").fitting(COUNT, SIZE)
    fit = Fit.of(SIZE, pocket_ddpm())
    # A window in the middle of the film.
    found = link_by_files(flows, fit)(range(1, COUNT), torch.zeros(COUNT - 1, 3, *fit.canvas))
    wanted = from_flow(*(flow[1:] for flow in exact))
    order = [found.pairs.index(pair) for pair in wanted.pairs]
    torch.testing.assert_close(found.position[order], wanted.position)
    torch.testing.assert_close(found.certainty[order], wanted.certainty)


def test_a_window_of_one_frame_has_no_links(exact: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    in_folders(tmp_path / "flow", *exact)
    fit = Fit.of(SIZE, pocket_ddpm())
    link = link_by_files(FlowFolder.open(tmp_path / "flow").fitting(COUNT, SIZE), fit)
    assert len(link(range(3, 4), torch.zeros(1, 3, *fit.canvas))) == 0


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"PIEH" + bytes(3), "no .flo file"),
        (b"\x89PNG" + bytes(40), "no .flo file"),
        (b"PIEH" + (1 << 30).to_bytes(4, "little") * 2 + bytes(64), "at most 256 megapixels"),
        (b"PIEH" + (-4).to_bytes(4, "little", signed=True) * 2, "-4x-4 pixels"),
        (b"PIEH" + (4).to_bytes(4, "little") * 2 + bytes(120), "cut off or damaged: 4x4 pixels"),
        (b"PIEH" + (4).to_bytes(4, "little") * 2 + bytes(129), "cut off or damaged: 4x4 pixels"),
    ],
)
def test_a_file_is_not_trusted_for_its_size(content: bytes, why: str, tmp_path: Path) -> None:
    (tmp_path / "a.flo").write_bytes(content)
    with pytest.raises(InputError, match=rf"a\.flo .*{why}"):
        read_flow(tmp_path / "a.flo")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e10])
def test_motions_that_are_none_are_refused_by_name(value: float, tmp_path: Path) -> None:
    flow = torch.zeros(2, 4, 4)
    flow[1, 2, 2] = value
    save_flo(tmp_path / "a.flo", flow)
    with pytest.raises(InputError, match=r"a\.flo has motions that are not finite"):
        read_flow(tmp_path / "a.flo")
    save_vectors(tmp_path / "a.exr", torch.zeros(2, 4, 4), flow)
    with pytest.raises(InputError, match=r"a\.exr has motions that are not finite"):
        read_vectors(tmp_path / "a.exr")


def test_the_flow_must_be_of_the_film(exact: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    in_folders(tmp_path / "flow", *exact)
    flows = FlowFolder.open(tmp_path / "flow")
    with pytest.raises(InputError, match="has 3 files for each direction, and there are 9 frames: give 8"):
        flows.fitting(9, SIZE)
    with pytest.raises(InputError, match="for 64x64 pixels, and the frames have 32x64"):
        flows.fitting(COUNT, (64, 32))
    (tmp_path / "flow/forward/flow9.flo").unlink()
    with pytest.raises(InputError, match="2 files in forward and 3 in backward"):
        FlowFolder.open(tmp_path / "flow")
    save_flo(tmp_path / "flow/forward/flow9.flo", torch.zeros(2, 4, 4))
    with pytest.raises(InputError, match=r"flow9\.flo is 4x4 pixels, and the flow before it 64x64"):
        FlowFolder.open(tmp_path / "flow")


def test_a_vector_pass_is_needed_for_each_frame(exact: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    in_vectors(tmp_path / "flow", *exact)
    with pytest.raises(InputError, match="flow for 4 frames, and there are 5"):
        FlowFolder.open(tmp_path / "flow").fitting(5, SIZE)
    for channels in ("RGBA", "XYZ"):
        save_exr(tmp_path / "colors.exr", {f"Layer.{name}": np.zeros(SIZE, np.float32) for name in channels})
        with pytest.raises(InputError, match=r"colors\.exr has no Vector pass"):
            read_vectors(tmp_path / "colors.exr")


def test_a_folder_with_one_direction_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no flow"):
        FlowFolder.open(tmp_path)
    save_flo(tmp_path / "a.flo", torch.zeros(2, 4, 4))
    with pytest.raises(InputError, match="put such files into the folders forward and backward"):
        FlowFolder.open(tmp_path)
    (tmp_path / "forward").mkdir()
    with pytest.raises(InputError, match="needs the folders forward and backward"):
        FlowFolder.open(tmp_path)
