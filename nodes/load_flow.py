"""The node that reads optical flow which 3D software has written."""

from typing import Any

import torch
from comfy_api.latest import io

from ..diffuseit.errors import InputError
from ..diffuseit.frames.flows import FlowFolder
from ..diffuseit.schema import shown
from .comfy.events import Progress
from .comfy.folders import flow_folders, input_folder
from .inputs import checked
from .types import CATEGORY

MOST_FOLDERS = 1000
"""How many folders the menu lists."""


class LoadFlow(io.ComfyNode):
    """Reads a folder of flow as images, for DiffuseIT Correspondences."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffuseITLoadFlow",
            display_name="DiffuseIT Load Flow",
            category=f"{CATEGORY}/loaders",
            description="Loads how the pixels of a film move, as 3D software writes it: Blender's Vector pass in "
            "OpenEXR files, or a folder 'forward' and a folder 'backward' with .flo or OpenEXR files. OpenEXR files "
            "need the package OpenEXR in ComfyUI's Python.",
            search_aliases=["optical flow", "motion vectors", "vector pass", "EXR", "Blender", "flo"],
            inputs=[
                io.Combo.Input(
                    "folder",
                    options=flow_folders(MOST_FOLDERS),
                    tooltip="A folder with flow in ComfyUI's input folder. The order of the files is that of the "
                    "numbers in their names. Press R to see new folders.",
                )
            ],
            outputs=[
                io.Image.Output(
                    display_name="flow_forward",
                    tooltip="How many pixels each pixel moves to the next image, to the right (red) and down (green).",
                ),
                io.Image.Output(
                    display_name="flow_backward",
                    tooltip="How many pixels each pixel moves to the image before it, to the right (red) and down "
                    "(green).",
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, folder: str | None = None) -> bool | str:
        try:
            if isinstance(folder, str):
                _opened(folder)
        except InputError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, folder: str) -> str:
        # Files may change while their names stay.
        try:
            files = _opened(folder).files
            return str([(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files])
        except (InputError, OSError) as error:
            return str(error)

    @classmethod
    @checked
    def execute(cls, folder: str) -> io.NodeOutput:
        flows = _opened(folder)
        progress = Progress(len(flows))
        # Written in place: a list of them and a batch together would take twice the memory.
        forward, backward = (torch.zeros(len(flows), *flows.size, 3) for _ in range(2))
        for number in range(len(flows)):
            onward, back = flows.read(number)
            forward[number, ..., :2] = onward.movedim(0, -1)
            backward[number, ..., :2] = back.movedim(0, -1)
            progress.update(number + 1, len(flows))
        return io.NodeOutput(forward, backward)


def _opened(name: Any) -> FlowFolder:
    path = input_folder(name) if isinstance(name, str) else None
    if path is None:
        raise InputError(f"folder: {shown(name)} is no folder in ComfyUI's input folder")
    return FlowFolder.open(path)


NODES = [LoadFlow]
