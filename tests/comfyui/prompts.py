"""The graphs that the tests run: pocket models, 64x64 pictures, few steps."""

from comfyui.server import Prompt

LOADERS: Prompt = {
    "ddpm": ("DiffuseITLoadDDPM", {}),
    "vit": ("DiffuseITLoadViT", {}),
    "clip": ("DiffuseITLoadCLIP", {}),
    "source": ("LoadImage", {"image": "a.png"}),
}
STEPS, SKIP = 8, 3
VISITS = STEPS - SKIP


def sampler(losses: str = "range", **inputs) -> Prompt:
    """A quick sampler whose losses come from a node, and what shows its outputs."""
    quick = {"steps": STEPS, "skip": SKIP, "resample": 1, "step_size": 0.5, "seed": 7}
    links = {"ddpm": ["ddpm", 0], "image": ["source", 0], "losses": [losses, 0]}
    return {
        "sampler": ("DiffuseITSampler", links | quick | inputs),
        "save": ("SaveImage", {"images": ["sampler", 0]}),
        "frames": ("PreviewImage", {"images": ["sampler", 1]}),
        "plot": ("LossGraphNode", {"loss": ["sampler", 2]}),
    }


def text_prompt(**inputs) -> Prompt:
    """A chain of text style, structure and range losses. `inputs` are the sampler's."""
    return {
        **LOADERS,
        "style": ("DiffuseITTextStyleLoss", {"clip": ["clip", 0]}),
        "structure": ("DiffuseITStructureLoss", {"vit": ["vit", 0], "previous": ["style", 0]}),
        "range": ("DiffuseITRangeLoss", {"previous": ["structure", 0]}),
        **sampler(**inputs),
    }


def image_prompt(**inputs) -> Prompt:
    """As `text_prompt`, toward the picture b.png, by its look and its colors."""
    return {
        **{node: what for node, what in LOADERS.items() if node != "clip"},
        "look": ("LoadImage", {"image": "b.png"}),
        "style": (
            "DiffuseITImageStyleLoss",
            {"vit": ["vit", 0], "style_image": ["look", 0], "cls_token": 1.0, "pixels": 10.0},
        ),
        "structure": ("DiffuseITStructureLoss", {"vit": ["vit", 0], "previous": ["style", 0]}),
        "divergence": (
            "DiffuseITSemanticDivergenceLoss",
            {"vit": ["vit", 0], "previous": ["structure", 0], "until": 0.4},
        ),
        "range": ("DiffuseITRangeLoss", {"previous": ["divergence", 0]}),
        **sampler(**inputs),
    }


def changed(prompt: Prompt, node: str, **inputs) -> Prompt:
    """`prompt` with other inputs of one node."""
    kind, before = prompt[node]
    return {**prompt, node: (kind, before | inputs)}
