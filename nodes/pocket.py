"""The latent pocket models as ComfyUI's own types, for graphs with ComfyUI's own sampling."""

from comfy_api.latest import io

from ..diffuseit.errors import InputError
from ..diffuseit.models.flux import FluxConfig
from ..diffuseit.pocket.files import FLUX, TAESD
from .comfy import devices, model_files
from .inputs import checked
from .types import CATEGORY, CLIP_ENSEMBLE, Network

MENU = f"{CATEGORY}/loaders"


class LoadPocketLatent(io.ComfyNode):
    """Loads the flow model and the autoencoder that ship with the pack."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffuseITLoadPocketLatent",
            display_name="DiffuseIT Load Pocket Latent Model",
            category=MENU,
            description="Loads a small latent diffusion model of 64x64 landscapes and animals, which ships with the "
            "pack, as a model and a VAE of ComfyUI. Any sampler of ComfyUI takes them.",
            search_aliases=["pocket", "tiny flux", "small model", "test model", "taesd"],
            inputs=[],
            outputs=[
                io.Model.Output(
                    display_name="model",
                    tooltip="A rectified flow in the layout of Flux. To DiffuseIT Guide Model, a sampler, or a guider.",
                ),
                io.Vae.Output(
                    display_name="vae",
                    tooltip="A tiny autoencoder in the layout of TAESD. To VAE Encode, VAE Decode, and DiffuseIT "
                    "Guide Model.",
                ),
            ],
        )

    @classmethod
    @checked
    def execute(cls) -> io.NodeOutput:
        return io.NodeOutput(
            model_files.load_diffusion_model(FLUX.source), model_files.load_vae(TAESD.source)
        )


class PocketText(io.ComfyNode):
    """Encodes a text for the latent pocket model."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffuseITPocketText",
            display_name="DiffuseIT Pocket Text",
            category=MENU,
            description="Encodes a text for the model of DiffuseIT Load Pocket Latent Model, as CLIP Text Encode does "
            "for other models.",
            search_aliases=["pocket", "prompt", "clip text encode", "conditioning"],
            inputs=[
                CLIP_ENSEMBLE.Input("clip", tooltip="From DiffuseIT Load CLIP, with the model 'pocket'."),
                io.String.Input(
                    "text",
                    default="",
                    multiline=True,
                    tooltip="What the image shows: 'summer landscape', or autumn, winter, desert, sunset, night; or "
                    "'lion', leopard, tiger, panther, polar bear, zebra. Leave it empty for the negative prompt.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(
                    display_name="conditioning",
                    tooltip="To the positive or negative input of a sampler or guider.",
                )
            ],
        )

    @classmethod
    @checked
    def execute(cls, clip: Network, text: str) -> io.NodeOutput:
        from ..diffuseit.pocket.models import text_embeddings

        first = clip.module.models[0]
        with devices.gradients():
            devices.load([Network(first, clip.patchers[:1])], 0)
            pooled = text_embeddings(clip.module, [text])
        if pooled.shape[1] != FluxConfig.context:
            raise InputError(f"clip is {first.name}: connect DiffuseIT Load CLIP with the model 'pocket'")
        # Without a text, the model was trained on zeros.
        pooled = devices.to_output(pooled if text.strip() else pooled.new_zeros(pooled.shape))
        return io.NodeOutput([[pooled[:, None], {"pooled_output": pooled}]])


NODES = [LoadPocketLatent, PocketText]
