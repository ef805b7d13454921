"""Downloads from within a graph, when the node is queued and at no other time."""

from comfy_api.latest import io, ui

from ..diffuseit.models.hub.catalog import bundles, catalog, format_size, members
from ..diffuseit.models.hub.http import Progress
from .comfy import events
from .comfy.folders import download_folder
from .inputs import checked
from .types import CATEGORY

DEFAULT = "paper"


class DownloadModels(io.ComfyNode):
    """`diffuseit models download`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        described = "; ".join(f"{name}: {bundle.purpose}" for name, bundle in bundles().items())
        return io.Schema(
            node_id="DiffuseITDownloadModels",
            display_name="DiffuseIT Download Models",
            category=f"{CATEGORY}/loaders",
            description="Downloads a model, or a bundle of models, into models/diffuseit when you queue it. No "
            "other node of this pack uses the network. Existing files stay as they are. Press R "
            "afterward, and the loaders list the new files.",
            search_aliases=["download", "checkpoint", "get models", "huggingface"],
            is_output_node=True,
            inputs=[
                io.Combo.Input(
                    "model",
                    options=[*bundles(), *catalog()],
                    default=DEFAULT,
                    tooltip=f"What to download. Bundles: {described}. Check the licenses: many models are for "
                    "research only.",
                )
            ],
            outputs=[
                io.String.Output(
                    display_name="files", tooltip="The downloaded files, one per line, and their licenses."
                )
            ],
        )

    @classmethod
    @checked
    def execute(cls, model: str) -> io.NodeOutput:
        from ..diffuseit.models.hub.download import download

        paths = download(model, download_folder(), _Display())
        lines = [f"{path.name} ({format_size(path.stat().st_size)})" for path in paths]
        licenses = sorted({f"{entry.name}: {entry.license}" for entry in members(model)})
        text = "\n".join([*lines, "", *licenses])
        return io.NodeOutput(text, ui=ui.PreviewText(text))


class _Display:
    """Shows a download on the running node, and answers an interruption."""

    def __init__(self) -> None:
        self._bar = events.Progress(100)
        self._percent = -1
        self._text = ""

    def __call__(self, progress: Progress) -> None:
        events.check_interruption()
        percent = 100 * progress.done // progress.total if progress.total else 0
        if percent != self._percent:
            self._percent = percent
            self._bar.update(percent, 100)
        text = f"{progress.file}: {progress.note or 'downloading'}"
        if text != self._text:
            self._text = text
            events.show_text(text)


NODES = [DownloadModels]
