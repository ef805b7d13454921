"""Networks of each kind at a width that costs nothing, with fixed random weights."""

from pathlib import Path

import torch
from torch import Tensor

from diffuseit.models.clip_config import CLIPConfig, PlainCLIP, TextTower, VisionTower
from diffuseit.models.ddpm import PixelDDPM
from diffuseit.models.hub.catalog import tokenizer_folder
from diffuseit.models.unet import UNet, UNetConfig
from diffuseit.models.vit import ViTConfig

UNET = UNetConfig(
    image_size=32, model_channels=32, channel_mult=(1, 2), num_res_blocks=1, num_head_channels=16
)
DINO = ViTConfig(embed_dim=64, depth=3, num_heads=1, patch_size=8, image_size=32, input_size=32)
DINOV2 = ViTConfig(
    embed_dim=64, depth=3, num_heads=1, patch_size=14, image_size=70, input_size=70, layer_scale=True
)
DINOV3 = ViTConfig(
    embed_dim=64,
    depth=3,
    num_heads=2,
    patch_size=16,
    image_size=64,
    input_size=64,
    layer_scale=True,
    reg_tokens=4,
    qkv_bias=False,
    norm_eps=1e-5,
    rope_temperature=100.0,
)
CLIP = CLIPConfig(
    name="tiny",
    model_cfg=PlainCLIP(
        embed_dim=16,
        quick_gelu=True,
        vision_cfg=VisionTower(image_size=32, layers=2, width=64, patch_size=8),
        text_cfg=TextTower(context_length=20, width=64, heads=1, layers=1),
    ),
)

# As SigLIP 2: a tokenizer of the hub, both directions of attention, its own mean, pictures squashed to a square.
SIGLIP_REPO = "timm/ViT-B-16-SigLIP2-256"
SIGLIP_CFG = {
    "embed_dim": 32,
    "init_logit_bias": -10,
    "custom_text": True,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 8},
    "text_cfg": {
        "context_length": 8,
        "vocab_size": 12,
        "hf_tokenizer_name": SIGLIP_REPO,
        "tokenizer_kwargs": {"clean": "canonicalize"},
        "width": 32,
        "heads": 1,
        "layers": 1,
        "no_causal_mask": True,
        "proj_bias": True,
        "pool_type": "last",
    },
}


def random_state(module: torch.nn.Module, seed: int = 0) -> dict[str, Tensor]:
    """Fixed weights as training leaves them: matrices keep the size of what they multiply, scales are near 1."""
    generator = torch.Generator().manual_seed(seed)

    def draw(key: str, value: Tensor) -> Tensor:
        if not value.is_floating_point():
            return value
        noise = torch.randn(value.shape, generator=generator)
        if value.ndim > 1 and "token" not in key and "pos" not in key:
            return noise / value[0].numel() ** 0.5
        is_scale = value.ndim == 1 and key.endswith(("weight", "gamma", "gamma_1", "gamma_2", "running_var"))
        return is_scale + 0.1 * noise

    return {key: draw(key, value) for key, value in module.state_dict().items()}


def tiny_clip_state() -> dict[str, Tensor]:
    return random_state(CLIP.build())


def tiny_ddpm() -> PixelDDPM:
    model = PixelDDPM(UNet(UNET))
    model.unet.load_state_dict(random_state(model.unet))
    return model.eval().requires_grad_(False)


def picture(*shape: int, seed: int = 0) -> Tensor:
    return 2 * torch.rand(shape, generator=torch.Generator().manual_seed(seed)) - 1


def save_tokenizer(folder: Path, end: str = "<eos>", padding: str = "<pad>") -> Path:
    """A tokenizer as the hub has SigLIP 2's, but for the words."""
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = ["<pad>", end, "<bos>", "<unk>", "a", "photo", "of", "lion", "leopard"]
    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.post_processor = processors.TemplateProcessing(single=f"$A {end}", special_tokens=[(end, 1)])
    marks = {"pad_token": padding, "eos_token": end, "unk_token": "<unk>"}
    whole = transformers.PreTrainedTokenizerFast(tokenizer_object=core, padding_side="right", **marks)
    home = folder / tokenizer_folder(SIGLIP_REPO)
    whole.save_pretrained(home)
    return home
