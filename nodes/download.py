"""Downloads for those who live in the graph: runs only when it is queued, and touches nothing else."""

from comfy_api.latest import io, ui

from ..diffuseit.models.hub.catalog import bundles, catalog, format_size, members
from .comfy.events import Progress, check_interruption
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
            description="Fetches a model, or a bundle of them, into models/diffuseit when you queue it: the only node "
            "of this pack that uses the network. Files that are there stay as they are. Then press R, and the "
            "loaders list them.",
            search_aliases=["download", "checkpoint", "get models", "huggingface"],
            is_output_node=True,
            inputs=[
                io.Combo.Input(
                    "model",
                    options=[*bundles(), *catalog()],
                    default=DEFAULT,
                    tooltip=f"What to fetch. Bundles: {described}. Mind the licences: many are for research only.",
                )
            ],
            outputs=[
                io.String.Output(display_name="files", tooltip="The files, one a line, with their licences.")
            ],
        )

    @classmethod
    @checked
    def execute(cls, model: str) -> io.NodeOutput:
        from ..diffuseit.models.hub.download import download

        progress = Progress(100)
        last = -1

        def show(file: str, done: int, total: int | None) -> None:
            nonlocal last
            percent = 100 * done // total if total else 0
            if percent != last:
                last = percent
                progress.update(percent, 100)
            check_interruption()

        paths = download(model, download_folder(), show)
        lines = [f"{path.name} ({format_size(path.stat().st_size)})" for path in paths]
        licences = sorted({f"{entry.name}: {entry.licence}" for entry in members(model)})
        text = "\n".join([*lines, "", *licences])
        return io.NodeOutput(text, ui=ui.PreviewText(text))


NODES = [DownloadModels]
