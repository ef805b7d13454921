"""Checkpoints of diffusers with tiny networks of random weights, written in its own layout."""

import json
import string

import diffusers
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

WIDTH = 32
LATENTS = 4
TOKENS = 77
WORDS = ("photo", "of", "a", "winter", "summer", "landscape", "leopard")
START, END = "<|startoftext|>", "<|endoftext|>"

STABLE = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
}


def clip_tokenizer(folder):
    """Write the files of a CLIP tokenizer that knows letters and a few words."""
    folder.mkdir(parents=True)
    letters = string.ascii_lowercase
    vocabulary, merges = [*letters, *(f"{letter}</w>" for letter in letters)], []
    for word in WORDS:
        for end in range(2, len(word) + 1):
            whole = word[:end] + ("</w>" if end == len(word) else "")
            right = word[end - 1 : end] + ("</w>" if end == len(word) else "")
            if whole not in vocabulary:
                merges.append(f"{word[: end - 1]} {right}")
                vocabulary.append(whole)
    vocabulary += [START, END]
    (folder / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(vocabulary)}))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]))
    marks = {"bos_token": START, "eos_token": END, "pad_token": END, "unk_token": END}
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": TOKENS, **marks}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "special_tokens_map.json").write_text(json.dumps(marks))
    return len(vocabulary)


def t5_tokenizer(folder):
    """Write the file of a T5 tokenizer that knows letters and a few words."""
    folder.mkdir(parents=True)
    words = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    words += [(f"▁{word}", -3.0) for word in WORDS] + [(letter, -6.0) for letter in string.ascii_lowercase]
    core = Tokenizer(models.Unigram(words, unk_id=2))
    core.pre_tokenizer = pre_tokenizers.Metaspace()
    core.decoder = decoders.Metaspace()
    core.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    core.save(str(folder / "tokenizer.json"))
    marks = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    settings = {"tokenizer_class": "T5TokenizerFast", "model_max_length": TOKENS, "extra_ids": 0, **marks}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return len(words)


def clip_text(vocabulary, projected=False, width=WIDTH):
    config = transformers.CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=2 * width,
        projection_dim=width,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=TOKENS,
        bos_token_id=vocabulary - 2,
        eos_token_id=vocabulary - 1,
        pad_token_id=vocabulary - 1,
    )
    kind = transformers.CLIPTextModelWithProjection if projected else transformers.CLIPTextModel
    return kind(config)


def t5_text(vocabulary):
    config = transformers.T5Config(
        vocab_size=vocabulary, d_model=WIDTH, d_kv=16, d_ff=64, num_layers=2, num_heads=2,
        feed_forward_proj="gated-gelu",
    )  # fmt: skip
    return transformers.T5EncoderModel(config)


def unet(cross, **options):
    return diffusers.UNet2DConditionModel(
        sample_size=8,
        in_channels=LATENTS,
        out_channels=LATENTS,
        block_out_channels=(32, 64),
        layers_per_block=1,
        norm_num_groups=8,
        attention_head_dim=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=cross,
        **options,
    )


def kl_autoencoder(**options):
    return diffusers.AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=LATENTS,
        norm_num_groups=4,
        sample_size=64,
        **options,
    )


def stable_diffusion(folder, scheduler=None):
    """Write a checkpoint in the layout of Stable Diffusion 1 or 2."""
    vocabulary = clip_tokenizer(folder / "tokenizer")
    diffusers.StableDiffusionPipeline(
        vae=kl_autoencoder(),
        unet=unet(WIDTH),
        text_encoder=clip_text(vocabulary),
        tokenizer=transformers.CLIPTokenizer.from_pretrained(folder / "tokenizer"),
        scheduler=scheduler or diffusers.EulerDiscreteScheduler(**STABLE, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    return folder


def stable_diffusion_xl(folder):
    """Write a checkpoint in the layout of Stable Diffusion XL, with a tiny autoencoder."""
    vocabulary = clip_tokenizer(folder / "tokenizer")
    tokenizer = transformers.CLIPTokenizer.from_pretrained(folder / "tokenizer")
    diffusers.StableDiffusionXLPipeline(
        vae=diffusers.AutoencoderTiny(
            encoder_block_out_channels=(8, 8, 8, 8), decoder_block_out_channels=(8, 8, 8, 8)
        ),
        unet=unet(
            2 * WIDTH,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + WIDTH,
            transformer_layers_per_block=1,
            use_linear_projection=True,
        ),
        text_encoder=clip_text(vocabulary),
        text_encoder_2=clip_text(vocabulary, projected=True),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        scheduler=diffusers.EulerDiscreteScheduler(**STABLE, timestep_spacing="leading", steps_offset=1),
        add_watermarker=False,
    ).save_pretrained(folder)
    return folder


def stable_diffusion_3(folder):
    """Write a checkpoint in the layout of Stable Diffusion 3, without its third text encoder."""
    vocabulary = clip_tokenizer(folder / "tokenizer")
    tokenizer = transformers.CLIPTokenizer.from_pretrained(folder / "tokenizer")
    diffusers.StableDiffusion3Pipeline(
        vae=kl_autoencoder(shift_factor=0.06, scaling_factor=1.5),
        transformer=diffusers.SD3Transformer2DModel(
            sample_size=8,
            patch_size=2,
            in_channels=LATENTS,
            out_channels=LATENTS,
            num_layers=2,
            attention_head_dim=8,
            num_attention_heads=4,
            joint_attention_dim=WIDTH * 2,
            caption_projection_dim=32,
            pooled_projection_dim=2 * WIDTH,
            pos_embed_max_size=16,
        ),
        text_encoder=clip_text(vocabulary, projected=True),
        text_encoder_2=clip_text(vocabulary, projected=True),
        text_encoder_3=None,
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        tokenizer_3=None,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
    ).save_pretrained(folder)
    return folder


def flux(folder, guided=False):
    """Write a checkpoint in the layout of Flux.1: dev if it is `guided`, else schnell."""
    vocabulary = clip_tokenizer(folder / "tokenizer")
    words = t5_tokenizer(folder / "tokenizer_2")
    diffusers.FluxPipeline(
        vae=kl_autoencoder(
            shift_factor=0.06, scaling_factor=1.5, use_quant_conv=False, use_post_quant_conv=False
        ),
        transformer=diffusers.FluxTransformer2DModel(
            patch_size=1,
            in_channels=4 * LATENTS,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=WIDTH,
            pooled_projection_dim=WIDTH,
            axes_dims_rope=[4, 4, 8],
            guidance_embeds=guided,
        ),
        text_encoder=clip_text(vocabulary),
        text_encoder_2=t5_text(words),
        tokenizer=transformers.CLIPTokenizer.from_pretrained(folder / "tokenizer"),
        tokenizer_2=transformers.T5TokenizerFast.from_pretrained(folder / "tokenizer_2"),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(
            shift=3.0, use_dynamic_shifting=True, base_image_seq_len=4, max_image_seq_len=64
        ),
    ).save_pretrained(folder)
    return folder
