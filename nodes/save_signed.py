"""The node that saves images with what they say of their making, signed."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfy_api.latest import io
from torch import Tensor

from ..diffuseit.errors import InputError
from ..diffuseit.images.io import level_image, read_mark, save_picture, to_pil
from ..diffuseit.images.marks import SourceType, of_result
from ..diffuseit.images.metadata import graph_options
from ..diffuseit.schema import printable
from .before_run import Prompt, link_of, upstream
from .comfy.folders import input_file
from .comfy.saving import Names, metadata_allowed
from .comfy.user_files import switch_setting
from .images import to_core
from .inputs import checked, why_not
from .types import CATEGORY

if TYPE_CHECKING:
    from PIL import Image

    from ..diffuseit.provenance.credential import Credential

MARK_SETTING = "DiffuseIT.Marks.Save"
SUFFIXES = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}
AUTO = "auto"
KINDS: dict[str, SourceType] = {
    "edited": "compositeWithTrainedAlgorithmicMedia",
    "generated": "trainedAlgorithmicMedia",
    "rendered": "algorithmicMedia",
}
"""What the options of the node say, as terms of IPTC's DigitalSourceType."""

SOURCED = (
    "DiffuseITSampler",
    "DiffuseITVariations",
    "DiffuseITTranslate",
    "DiffuseITGuideModel",
    "DiffuseITLatentSampler",
)
"""Nodes that translate what is connected to their input `image`."""

LOADERS = {"LoadImage": "", "LoadImageOutput": " [output]"}
"""ComfyUI's nodes that load an image file, and what makes its name that of another folder."""


class SaveSignedImage(io.ComfyNode):
    """`save_picture` with ComfyUI's metadata, the mark, and a signature."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffuseITSaveSignedImage",
            display_name="DiffuseIT Save Signed Image",
            category=CATEGORY,
            description="Saves images in the output folder with their workflow, says in the metadata that a trained "
            "model has made or changed them, and signs all of it (C2PA). Later changes of the file show. Signatures "
            "need `pip install c2pa-python`.",
            search_aliases=[
                "save image",
                "C2PA",
                "content credentials",
                "provenance",
                "signature",
                "IPTC",
                "AI label",
                "jpeg",
                "webp",
            ],
            is_output_node=True,
            inputs=[
                io.Image.Input("images", tooltip="The images to save, from any node and any model."),
                io.String.Input(
                    "filename_prefix",
                    default="ComfyUI",
                    tooltip="How the names of the files begin, as in Save Image. It may name a folder.",
                ),
                io.Combo.Input(
                    "format",
                    options=list(SUFFIXES),
                    default="png",
                    tooltip="png loses nothing. jpeg and webp are smaller (quality 95). jpeg holds at most 64 kB of "
                    "workflow.",
                ),
                io.Combo.Input(
                    "kind",
                    options=[AUTO, *KINDS],
                    default=AUTO,
                    tooltip="What the images say of themselves, in the words of IPTC. edited: a trained model has "
                    "changed an image. generated: it has made the image. rendered: a program without training has "
                    "made it. auto: edited if the source is known and is not generated itself, else generated.",
                ),
                io.Boolean.Input(
                    "mark",
                    default=True,
                    tooltip="On: the metadata say what kind of image it is, for other programs. Off: they do not, and "
                    "nothing can be signed.",
                ),
                io.Boolean.Input(
                    "sign",
                    default=True,
                    tooltip="On: the file is signed, with the key of this machine, which is made on first use. It "
                    "shows later changes, not who you are. Off: it is not.",
                ),
                io.String.Input(
                    "source_file",
                    default="",
                    tooltip="The file that the images were made of, as Load Image names it; the signature says so. "
                    "Empty: the one that Load Image gives to the sampler. If several do, none.",
                ),
            ],
            outputs=[
                io.String.Output(
                    display_name="report",
                    tooltip="The names of the files, and what they say.",
                )
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt, io.Hidden.extra_pnginfo],
        )

    @classmethod
    def validate_inputs(
        cls, mark: bool | None = None, sign: bool | None = None, source_file: str | None = None
    ) -> bool | str:
        values = {"mark": mark, "sign": sign, "source_file": source_file}
        return why_not(cls, values, lambda: _check(bool(mark), bool(sign), str(source_file)))

    @classmethod
    @checked
    def execute(
        cls,
        images: Tensor,
        filename_prefix: str,
        format: str,
        kind: str,
        mark: bool,
        sign: bool,
        source_file: str,
    ) -> io.NodeOutput:
        pictures = _pictures(images)
        prompt, allowed = cls.hidden.prompt, metadata_allowed()
        source = _given(source_file) if source_file.strip() else source_of(prompt, str(cls.hidden.unique_id))
        wanted = switch_setting(MARK_SETTING, True)
        term = _term(kind, source) if mark and allowed and wanted else None
        graph = _graph(prompt, cls.hidden.extra_pnginfo) if allowed else {}
        suffix = SUFFIXES[format]
        credential, trouble = _credential() if sign and term else (None, None)
        names = Names(filename_prefix, pictures[0].width, pictures[0].height)
        saved, lines, unsigned = [], [], []
        for number, picture in enumerate(pictures):
            signature = None
            if credential is not None and term is not None:
                from ..diffuseit.provenance.sign import Origin, Signature

                signature = Signature(credential, Origin(term, source, recipe=None))
            path = _save(picture, names, number, suffix, graph, term, signature)
            saved.append({"filename": path.name, "subfolder": names.subfolder, "type": "output"})
            failure = trouble if signature is None else signature.failure
            if failure is not None:
                unsigned.append(f"{path.name} is saved, but not signed: {failure}")
            state = "signed" if signature is not None and failure is None else "not signed"
            lines.append(f"{path.name}: {term or 'no mark'}, {state}")
            lines += [f"  {note}" for note in ([] if signature is None else signature.notes)]
        lines += _notes(source, term, graph, suffix, allowed, wanted)
        if unsigned:
            # The images are there, and whoever asked for signatures must not take them for signed.
            raise InputError("; ".join(unsigned[:3]))
        report = "\n".join(lines)
        return io.NodeOutput(report, ui={"images": saved, "text": (report,)})


def _save(
    picture: "Image.Image",
    names: Names,
    number: int,
    suffix: str,
    graph: Mapping[str, str],
    term: SourceType | None,
    signature: Any,
) -> Path:
    """Save under the first free name. Raise `InputError` if nothing can be written there."""
    for path in names.of(number, suffix):
        try:
            save_picture(picture, path, mark=term, graph=graph, finish=signature, overwrite=False)
        except FileExistsError:
            continue
        return path
    raise AssertionError("a name was free")


def source_of(prompt: Prompt | None, node: str) -> Path | None:
    """Return the file that the images of `node` were made of, if the graph says so; None if it does not, or names two.

    It is what Load Image gives, through any nodes, to the input `image` of a node that translates.
    """
    if not prompt or node not in prompt:
        return None
    found = set()
    for sampler in upstream(prompt, node):
        start = link_of(prompt[sampler]["inputs"].get("image"))
        if prompt[sampler]["class_type"] not in SOURCED or start is None or start not in prompt:
            continue
        for one in upstream(prompt, start):
            name = prompt[one]["inputs"].get("image")
            if prompt[one]["class_type"] in LOADERS and isinstance(name, str):
                found.add(input_file(name + LOADERS[prompt[one]["class_type"]]))
    return found.pop() if len(found) == 1 else None


def _check(mark: bool, sign: bool, source_file: str) -> None:
    """Raise before the run what would be in the way of a signature after it."""
    if not sign:
        return
    if not mark:
        raise InputError("sign: a signature says what kind of image it is; turn on mark, or turn off sign")
    if source_file.strip():
        _given(source_file)
    if metadata_allowed():
        _, trouble = _credential()
        if trouble is not None:
            raise InputError(f"sign: {trouble}")


def _credential() -> "tuple[Credential | None, str | None]":
    """The key of this machine, or why there is none."""
    from ..diffuseit.errors import DiffuseITError
    from ..diffuseit.provenance.credential import local_credential

    try:
        return local_credential(), None
    except DiffuseITError as error:
        return None, str(error)


def _given(source_file: str) -> Path:
    found = input_file(source_file.strip())
    if found is None:
        raise InputError(
            f"source_file: {printable(source_file.strip()[:100])} is not in the input folder; write the name as Load "
            "Image has it, or NAME [output]"
        )
    return found


def _term(kind: str, source: Path | None) -> SourceType:
    if kind != AUTO:
        return KINDS[kind]
    if source is None:
        return KINDS["generated"]
    try:
        return of_result(read_mark(source))
    except InputError:
        return KINDS["edited"]


def _graph(prompt: Prompt | None, extra: Mapping[str, Any] | None) -> dict[str, str]:
    """ComfyUI's metadata: JSON by name, as its own nodes write it."""
    found = {} if prompt is None else {"prompt": json.dumps(prompt)}
    return found | {str(name): json.dumps(value) for name, value in (extra or {}).items()}


def _notes(
    source: Path | None,
    term: SourceType | None,
    graph: Mapping[str, str],
    suffix: str,
    allowed: bool,
    wanted: bool,
) -> list[str]:
    if not allowed:
        return ["ComfyUI runs with --disable-metadata: the files say nothing, and are not signed."]
    notes = (
        [] if wanted else ["Marks are turned off in the settings: the files have none, and are not signed."]
    )
    notes += [] if source is None or term is None else [f"Source: {source.name}"]
    if graph and not graph_options(suffix, graph):
        notes.append("The workflow is too long for a JPEG file: choose png or webp to keep it.")
    return notes


def _pictures(images: Tensor) -> "list[Image.Image]":
    """The images of a batch, with transparency where they have it."""
    has_alpha = isinstance(images, Tensor) and images.ndim == 4 and images.shape[-1] == 4
    found = [to_pil(one) for one in to_core(images[..., :3] if has_alpha else images, "images")]
    if has_alpha:
        for picture, alpha in zip(found, images[..., 3], strict=True):
            picture.putalpha(level_image(alpha[None]))
    return found


NODES = [SaveSignedImage]
