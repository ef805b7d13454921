"""The node that lets the finished images of a batch agree."""

from comfy_api.latest import io
from torch import Tensor

from ..diffuseit.correspondence import consensus
from ..diffuseit.errors import InputError
from ..diffuseit.frames.links import fitted
from ..diffuseit.images.resize import Fit
from .comfy.devices import to_output
from .film_run import check_links
from .images import to_comfy, to_core
from .inputs import checked
from .types import CATEGORY, OPTIONS, Options


class Consensus(io.ComfyNode):
    """Averages the images of a batch along their correspondences."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffuseITConsensus",
            display_name="DiffuseIT Consensus",
            category=CATEGORY,
            description="Averages the images of a batch along what moves, so that a film flickers less. Latent models "
            "need it after VAE Decode. DiffuseIT Sampler does it by itself.",
            search_aliases=["deflicker", "temporal smoothing", "film", "video", "flicker"],
            inputs=[
                io.Image.Input("image", tooltip="The results, in the order of their sources."),
                OPTIONS.Input(
                    "options",
                    tooltip="From DiffuseIT Correspondences. Its consensus and reach say how far the images are "
                    "averaged.",
                ),
            ],
            outputs=[io.Image.Output(tooltip="The images after their consensus.")],
        )

    @classmethod
    @checked
    def execute(cls, image: Tensor, options: Options) -> io.NodeOutput:
        film = options.film
        if film is None:
            raise InputError("options has no correspondences: connect DiffuseIT Correspondences")
        images = to_core(image)
        check_links(film.correspondence, len(images), "images")
        fit = Fit.covering(film.correspondence.size, (images.shape[-2], images.shape[-1]))
        links = fitted(film.correspondence, fit)
        agreed = consensus(images, links, film.settings.consensus, film.settings.reach)
        return io.NodeOutput(to_output(to_comfy(agreed)))


NODES = [Consensus]
