"""The node that takes one machine's part of a batch."""

from comfy_api.latest import io
from torch import Tensor

from ..diffuseit.errors import InputError
from ..diffuseit.guidance.rng import SEEDS
from ..diffuseit.shards import Shard
from .inputs import checked
from .types import CATEGORY


class PartOfBatch(io.ComfyNode):
    """Takes a part of a batch, and gives its images the seeds that they have in the whole batch."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffuseITPartOfBatch",
            display_name="DiffuseIT Part of Batch",
            category=CATEGORY,
            description="Takes one of several parts of a batch, so that as many machines translate it together. Each "
            "image keeps the seed that it has in the whole batch.",
            search_aliases=["distributed", "split batch", "divide batch", "workers", "machines", "chunk"],
            inputs=[
                io.Image.Input("image", tooltip="The whole batch, the same on every machine."),
                io.Int.Input(
                    "index",
                    default=0,
                    min=0,
                    max=255,
                    tooltip="Which part, from 0. With ComfyUI-Distributed: from a Distributed Seed whose seed is 0, "
                    "which is 0 on the master, 1 on the first worker, and so on.",
                ),
                io.Int.Input(
                    "of",
                    default=2,
                    min=1,
                    max=256,
                    tooltip="How many parts: as many as machines take part, the master among them.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=SEEDS - 1,
                    control_after_generate=True,
                    tooltip="The seed of the first image of the whole batch. The others follow it.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    tooltip="The part: images that follow each other. Parts differ in length by one image at most."
                ),
                io.Int.Output(
                    display_name="seed",
                    tooltip="The seed of the first image of the part, to the seed of the sampler. Parts made so equal "
                    "the whole batch made by one machine.",
                ),
            ],
        )

    @classmethod
    @checked
    def execute(cls, image: Tensor, index: int, of: int, seed: int) -> io.NodeOutput:
        if index >= of:
            raise InputError(
                f"index: there is no part {index} of {of}: parts count from 0, so use at most {of - 1}"
            )
        if of > len(image):
            raise InputError(f"of: {len(image)} images do not make {of} parts: use at most {len(image)}")
        part = Shard(index + 1, of).stretch(len(image))
        return io.NodeOutput(image[part.start : part.stop], (seed + part.start) % SEEDS)


NODES = [PartOfBatch]
