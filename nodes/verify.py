"""The node that says what the marks of an image file say."""

from dataclasses import replace
from typing import Any

from comfy_api.latest import io, ui

from ..diffuseit.errors import InputError
from ..diffuseit.schema import printable
from .comfy.folders import download_folder, image_names, input_file
from .inputs import checked
from .types import CATEGORY

MOST_FILES = 1000
"""How many files the menu lists."""


class Verify(io.ComfyNode):
    """`provenance.verify` on files that ComfyUI knows."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffuseITVerify",
            display_name="DiffuseIT Verify",
            category=CATEGORY,
            description="Says what an image file says of itself, whatever made it: whether it is signed (C2PA) and "
            "unchanged, what kind of image it is, and what it was made of. It reads the file, not the pixels of a "
            "link: these carry no marks. Nothing is sent or fetched.",
            search_aliases=["C2PA", "content credentials", "check signature", "provenance", "authenticity"],
            is_output_node=True,
            inputs=[
                io.Combo.Input(
                    "file",
                    options=image_names(MOST_FILES),
                    upload=io.UploadType.image,
                    tooltip="An image in the input or the output folder, the newest first. Press R to see new files.",
                ),
                io.String.Input(
                    "source_file",
                    default="",
                    tooltip="The file that it should have been made of, as Load Image names it. Empty: the report "
                    "only says what the file claims.",
                ),
            ],
            outputs=[
                io.String.Output(display_name="report", tooltip="All that is known, in words."),
                io.String.Output(
                    display_name="signature",
                    tooltip="trusted or valid: unchanged since it was signed, by the key of this machine, or by one "
                    "that nobody has confirmed. tampered, expired, damaged: it does not hold. absent: there is none.",
                ),
                io.Boolean.Output(
                    display_name="holds",
                    tooltip="On if the file is signed and unchanged, and made of source_file if that is given.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, file: str | None = None, source_file: str | None = None) -> bool | str:
        for name, value in (("file", file), ("source_file", source_file)):
            if (
                isinstance(value, str)
                and (value.strip() or name == "file")
                and input_file(value.strip()) is None
            ):
                return _missing(name, value)
        return True

    @classmethod
    def fingerprint_inputs(cls, **inputs: Any) -> str:
        # A file may change while its name stays.
        states = []
        for name in ("file", "source_file"):
            path = input_file(str(inputs.get(name) or "").strip())
            states.append(None if path is None else path.stat().st_mtime_ns)
        return str(states)

    @classmethod
    @checked
    def execute(cls, file: str, source_file: str) -> io.NodeOutput:
        from ..diffuseit.provenance.credential import local_root
        from ..diffuseit.provenance.library import available
        from ..diffuseit.provenance.verify import verify
        from ..diffuseit.provenance.watermark import Decoder
        from ..diffuseit.provenance.words import lines

        path = input_file(file.strip())
        if path is None:
            raise InputError(_missing("file", file))
        source = input_file(source_file.strip()) if source_file.strip() else None
        if source is None and source_file.strip():
            raise InputError(_missing("source_file", source_file))
        roots = local_root() if available() else ""
        report = verify(path, source=source, roots=roots, decoder=Decoder.if_here(download_folder()))
        text = "\n".join(lines(replace(report, file=printable(file.strip()))))
        holds = report.holds and (source is None or report.of_source is True)
        return io.NodeOutput(text, report.signature, holds, ui=ui.PreviewText(text))


def _missing(name: str, value: str) -> str:
    return f"{name}: {printable(value.strip()[:100])!r} is not in the input folder, nor NAME [output] in the other"


NODES = [Verify]
