"""The kinds of diffusion models that tests of any MODEL use: ComfyUI's real classes, shrunken. Plain data.

tiny_models.py builds them. This file does not import ComfyUI, so a test can name the kinds.
"""

from dataclasses import dataclass, field
from typing import Any

SIDE = 64  # height and width of the picture that `Kind.latent` belongs to


@dataclass(frozen=True)
class Kind:
    """One kind of model."""

    config: str  # the class in comfy.supported_models
    model: str  # the class in comfy.model_base
    network: dict[str, Any]  # the sizes that core's detection reads from a checkpoint, shrunken
    vae: str  # a function of tiny_models.VAES
    latent: tuple[
        int, ...
    ]  # the shape of the latent of one 64x64 picture (audio: of 0.7 s), without the batch
    prediction: str  # the class in comfy.model_sampling: EPS, V_PREDICTION, or CONST (rectified flow)
    decoded: tuple[int, int] = (-1, 1)  # the range of pictures that the VAE's network gives
    text: int = 32  # width of the text embedding
    pooled: int = 0  # width of the pooled text embedding; 0: the model takes none
    extra: dict[str, Any] = field(default_factory=dict)  # further values of the conditioning
    sound: tuple[int, ...] = ()  # the shape of a second latent, nested with the first
    medium: str = "picture"  # picture, video, or audio


# Attention only where there are 64 channels: core's configuration has heads of 64.
_UNET = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 32,
    "num_res_blocks": [1, 1],
    "channel_mult": [1, 2],
    "transformer_depth": [0, 1],
    "transformer_depth_middle": 1,
    "transformer_depth_output": [0, 0, 1, 1],
    "context_dim": 32,
    "use_spatial_transformer": True,
    "use_linear_in_transformer": False,
    "use_temporal_attention": False,
    "adm_in_channels": None,
    "legacy": False,
}
_FLUX = {
    "image_model": "flux",
    "in_channels": 16,
    "out_channels": 16,
    "patch_size": 2,
    "hidden_size": 128,
    "num_heads": 1,
    "axes_dim": [16, 56, 56],
    "depth": 1,
    "depth_single_blocks": 1,
    "context_in_dim": 32,
    "vec_in_dim": 32,
    "mlp_ratio": 4.0,
    "theta": 10000,
    "qkv_bias": True,
    "guidance_embed": True,
    "txt_ids_dims": [],
}
_FLUX2 = _FLUX | {
    "image_model": "flux2",
    "in_channels": 128,
    "out_channels": 128,
    "patch_size": 1,
    "axes_dim": [32, 32, 32, 32],
    "vec_in_dim": None,
    "theta": 2000,
    "qkv_bias": False,
    "txt_ids_dims": [3],
    "global_modulation": True,
    "mlp_silu_act": True,
    "ops_bias": False,
    "default_ref_method": "index",
    "ref_index_scale": 10.0,
}
_CHROMA = {
    "image_model": "chroma",
    "in_channels": 64,
    "out_channels": 64,
    "patch_size": 2,
    "hidden_size": 128,
    "num_heads": 1,
    "axes_dim": [16, 56, 56],
    "depth": 1,
    "depth_single_blocks": 1,
    "context_in_dim": 32,
    "vec_in_dim": None,
    "mlp_ratio": 2.0,
    "theta": 10000,
    "qkv_bias": True,
    "txt_ids_dims": [],
    "in_dim": 64,
    "out_dim": 128,
    "hidden_dim": 32,
    "n_layers": 1,
}
_LUMINA = {
    "image_model": "lumina2",
    "patch_size": 2,
    "in_channels": 16,
    "dim": 64,
    "n_layers": 1,
    "n_refiner_layers": 1,
    "n_heads": 2,
    "n_kv_heads": 2,
    "axes_dims": [8, 12, 12],
    "axes_lens": [300, 512, 512],
    "rope_theta": 10000.0,
    "multiple_of": 32,
    "ffn_dim_multiplier": 1.0,
    "qk_norm": True,
    "cap_feat_dim": 32,
}
_Z_IMAGE = _LUMINA | {
    "dim": 256,  # the modulation wants this many
    "axes_dims": [32, 48, 48],
    "rope_theta": 256.0,
    "z_image_modulation": True,
    "time_scale": 1000.0,
    "pad_tokens_multiple": 32,
}

_WAN = {
    "image_model": "wan2.1",
    "model_type": "t2v",
    "dim": 48,
    "ffn_dim": 96,
    "num_heads": 2,
    "num_layers": 1,
    "text_dim": 32,
}
_LTXV = {
    "image_model": "ltxv",
    "num_layers": 1,
    "attention_head_dim": 32,
    "num_attention_heads": 2,
    "cross_attention_dim": 64,
    "caption_channels": 32,
}

KINDS = {
    "sd15": Kind("SD15", "BaseModel", _UNET, "kl_4", (4, 8, 8), "EPS"),
    "sd15_inpaint": Kind("SD15", "BaseModel", _UNET | {"in_channels": 9}, "kl_4", (4, 8, 8), "EPS"),
    "sd2_v": Kind(
        "SD20", "BaseModel", _UNET | {"use_linear_in_transformer": True}, "kl_4", (4, 8, 8), "V_PREDICTION"
    ),
    "sdxl": Kind(
        "SDXL",
        "SDXL",
        # The pooled text, and six sizes of 256 each.
        _UNET
        | {"use_linear_in_transformer": True, "num_classes": "sequential", "adm_in_channels": 32 + 6 * 256},
        "kl_4",
        (4, 8, 8),
        "EPS",
        pooled=32,
    ),
    "sd3": Kind(
        "SD3",
        "SD3",
        {
            "in_channels": 16,
            "out_channels": 16,
            "patch_size": 2,
            "depth": 2,  # also the number of heads, of 64
            "input_size": None,
            "adm_in_channels": 32,
            "context_embedder_config": {
                "target": "torch.nn.Linear",
                "params": {"in_features": 32, "out_features": 128},
            },
            "num_patches": 256,
            "pos_embed_max_size": 16,
            "pos_embed_scaling_factor": None,
            "qk_norm": "rms",
            "x_block_self_attn_layers": [],
        },
        "kl_16",
        (16, 8, 8),
        "CONST",
        pooled=32,
    ),
    "flux": Kind("Flux", "Flux", _FLUX, "kl_16", (16, 8, 8), "CONST", pooled=32),
    "flux_taesd": Kind("Flux", "Flux", _FLUX, "taesd_16", (16, 8, 8), "CONST", pooled=32),
    "flux2": Kind("Flux2", "Flux2", _FLUX2, "kl_flux2", (128, 4, 4), "CONST"),
    "chroma": Kind("Chroma", "Chroma", _CHROMA, "kl_16", (16, 8, 8), "CONST"),
    "lumina2": Kind("Lumina2", "Lumina2", _LUMINA, "kl_16", (16, 8, 8), "CONST"),
    "z_image": Kind("ZImage", "Lumina2", _Z_IMAGE, "kl_16", (16, 8, 8), "CONST"),
    "qwen_image": Kind(
        "QwenImage",
        "QwenImage",
        {
            "image_model": "qwen_image",
            "in_channels": 64,
            "num_layers": 1,
            "attention_head_dim": 32,
            "num_attention_heads": 2,
            "joint_attention_dim": 32,
            "axes_dims_rope": (8, 12, 12),
        },
        "wan",
        (16, 1, 8, 8),
        "CONST",
    ),
    "wan": Kind("WAN21_T2V", "WAN21", _WAN, "wan", (16, 1, 8, 8), "CONST", medium="video"),
    "wan_taehv": Kind(
        "WAN21_T2V", "WAN21", _WAN, "taehv_16", (16, 1, 8, 8), "CONST", decoded=(0, 1), medium="video"
    ),
    "hunyuan_video": Kind(
        "HunyuanVideo",
        "HunyuanVideo",
        {
            "image_model": "hunyuan_video",
            "in_channels": 16,
            "out_channels": 16,
            "patch_size": [1, 2, 2],
            "hidden_size": 64,
            "num_heads": 2,
            "axes_dim": [8, 12, 12],
            "depth": 1,
            "depth_single_blocks": 1,
            "context_in_dim": 32,
            "vec_in_dim": 32,
            "mlp_ratio": 2.0,
            "theta": 256,
            "qkv_bias": True,
            "guidance_embed": True,
            "byt5": False,
            "meanflow": False,
            "meanflow_sum": False,
            "use_cond_type_embedding": False,
            "vision_in_dim": None,
        },
        "kl_hunyuan_video",
        (16, 1, 8, 8),
        "CONST",
        pooled=32,
        medium="video",
    ),
    "ltxv": Kind("LTXV", "LTXV", _LTXV, "ltxv", (128, 1, 2, 2), "CONST", medium="video"),
    "ltxav": Kind(
        "LTXAV",
        "LTXAV",
        _LTXV
        | {
            "image_model": "ltxav",
            "audio_attention_head_dim": 16,
            "audio_num_attention_heads": 2,
            "audio_cross_attention_dim": 32,
            "connector_attention_head_dim": 16,
            "connector_num_attention_heads": 2,
            "connector_num_layers": 1,
        },
        "ltxv",
        (128, 1, 2, 2),
        "CONST",
        text=64,
        sound=(8, 4, 16),
        medium="video",
    ),
    "chroma_radiance": Kind(
        "ChromaRadiance",
        "ChromaRadiance",
        _CHROMA
        | {
            "image_model": "chroma_radiance",
            "in_channels": 3,
            "out_channels": 3,
            "patch_size": 16,
            "nerf_hidden_size": 16,
            "nerf_mlp_ratio": 2,
            "nerf_depth": 1,
            "nerf_max_freqs": 4,
            "nerf_tile_size": 512,
            "nerf_final_head_type": "conv",
            "nerf_embedder_dtype": None,
            "use_x0": False,
            "use_sequential_txt_ids": False,
        },
        "pixel_space",
        (3, 64, 64),
        "CONST",
    ),
    "z_image_pixel": Kind(
        "ZImagePixelSpace",
        "ZImagePixelSpace",
        _Z_IMAGE
        | {
            "image_model": "zimage_pixel",
            "in_channels": 3,
            "patch_size": 16,
            "decoder_in_channels": 768,
            "decoder_hidden_size": 32,
            "decoder_num_res_blocks": 1,
            "decoder_max_freqs": 2,
        },
        "pixel_space",
        (3, 64, 64),
        "CONST",
    ),
    "pixeldit": Kind(
        "PixelDiTT2I",
        "PixelDiTT2I",
        {
            "image_model": "pixeldit_t2i",
            "num_groups": 2,
            "hidden_size": 64,
            "pixel_hidden_size": 8,
            "pixel_attn_hidden_size": 64,
            "pixel_num_groups": 2,
            "patch_depth": 1,
            "pixel_depth": 1,
            "txt_embed_dim": 32,
        },
        "pixel_space",
        (3, 64, 64),
        "CONST",
    ),
    "hidream_o1": Kind(
        "HiDreamO1",
        "HiDreamO1",
        {
            "image_model": "hidream_o1",
            "text_config_overrides": {
                "hidden_size": 32,
                "intermediate_size": 32,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "num_key_value_heads": 1,
                "head_dim": 16,
                "rope_dims": [4, 2, 2],
            },
            "vision_config_overrides": {
                "hidden_size": 32,
                "num_heads": 2,
                "intermediate_size": 32,
                "depth": 1,
                "deepstack_visual_indexes": (),
                "num_position_embeddings": 64,
            },
        },
        "pixel_space",
        (3, 64, 64),
        "CONST",
    ),
    "stable_audio": Kind(
        "StableAudio",
        "StableAudio1",
        {
            "audio_model": "dit1.0",
            "embed_dim": 64,
            "num_heads": 2,
            "depth": 1,
            "cond_token_dim": 768,  # core appends two embeddings of this width to the text
            "project_cond_tokens": True,
            "global_cond_dim": 1536,
        },
        "oobleck",
        (64, 16),
        "V_PREDICTION",
        text=768,
        decoded=(0, 1),
        extra={"seconds_start": 0, "seconds_total": 1},
        medium="audio",
    ),
}
