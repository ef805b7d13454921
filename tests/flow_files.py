"""Files with optical flow, as 3D software writes them."""

import struct
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor


def save_flo(path: Path, flow: Tensor) -> None:
    """Write a flow [2, H, W] in Middlebury's format."""
    height, width = flow.shape[1:]
    values = flow.movedim(0, -1).contiguous().numpy().astype("<f4").tobytes()
    path.write_bytes(b"PIEH" + struct.pack("<ii", width, height) + values)


def save_exr(path: Path, channels: dict[str, np.ndarray]) -> None:
    """Write channels [H, W]. Skip the test without OpenEXR."""
    library = pytest.importorskip("OpenEXR")
    header = {"compression": library.ZIP_COMPRESSION, "type": library.scanlineimage}
    library.File(header, channels).write(str(path))


def save_vectors(path: Path, forward: Tensor, backward: Tensor, layer: str = "ViewLayer.Vector.") -> None:
    """Write flows [2, H, W] as Blender's Vector pass: to the frame before, and from the next one, with y up."""
    (right, down), (back, up) = forward.numpy(), backward.numpy()
    parts = {"X": back, "Y": -up, "Z": -right, "W": down}
    save_exr(path, {f"{layer}{name}": np.ascontiguousarray(pixels) for name, pixels in parts.items()})


def save_both_ways(folder: Path, forward: Tensor, backward: Tensor) -> None:
    """Write flows [N - 1, 2, H, W] into the folders of a film."""
    for name, flows in (("forward", forward), ("backward", backward)):
        (folder / name).mkdir(parents=True)
        for number, flow in enumerate(flows):
            save_flo(folder / name / f"flow{number + 8}.flo", flow)
