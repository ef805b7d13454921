"""Run an unchanged checkout of the official code, with random weights for its downloads and empty modules for imports.

It needs its own process, since it changes the working directory and `sys.modules`.
"""

import importlib
import os
import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from .meter import Meter
from .networks import Scale, clip_state, unet_state, vit_state
from .settings import FROM, TO, Task


def run(task: Task, scale: Scale, checkout: Path, folder: Path) -> tuple[Meter, list[Tensor]]:
    """Run `task.steps` evaluations of the official loop. Return the meter and the pred_xstart of each."""
    enter(checkout)
    editor_module = importlib.import_module("optimization.image_editor")
    put_in(editor_module, scale, half=task.half)
    source, target = task.pictures()
    _save(source, folder / "source.png")
    _save(target, folder / "target.png")
    editor = editor_module.ImageEditor(flags(task, scale, folder))
    meter = Meter(task.device)
    meter.count("unet", editor.model.input_blocks[0][0])
    meter.count("vit", editor.VIT_LOSS.extractor.model.patch_embed.proj)
    for name, clip in editor.clip_net.networks.items() if task.mode == "text" else ():
        meter.count(f"clip {name}", clip.model.visual.conv1)
    pictures: list[Tensor] = []
    loop = editor.diffusion.p_sample_loop_progressive

    def measured(*args: Any, **kwargs: Any) -> Iterator[dict[str, Tensor]]:
        torch.manual_seed(task.seed)
        for out in meter.steps(loop(*args, **{**kwargs, "progress": False}), task.steps):
            pictures.append(out["pred_xstart"].float().cpu())
            yield out

    editor.diffusion.p_sample_loop_progressive = measured
    editor.edit_image_by_prompt()
    return meter, pictures


def flags(task: Task, scale: Scale, folder: Path) -> Namespace:
    """Return what its command line would give: defaults with the recommended flags, and one run instead of ten."""
    text = task.mode == "text"
    return Namespace(
        prompt=TO if text else None,
        source=FROM if text else None,
        init_image=str(folder / "source.png"),
        target_image=None if text else str(folder / "target.png"),
        skip_timesteps=40 if text else 80,
        ddim=False,
        timestep_respacing="100" if text else "200",
        model_output_size=256,
        clip_models=list(scale.clips)[: task.clips],
        aug_num=task.crops,
        diff_iter=50 if text else 100,
        clip_guidance_lambda=2000,
        lambda_trg=2000,
        l2_trg_lambda=3000,
        range_lambda=200,
        vit_lambda=1,
        lambda_ssim=1000,
        lambda_dir_cls=100,
        lambda_contra_ssim=200,
        id_lambda=100,
        resample_num=10,
        seed=None,
        gpu_id=0,
        output_path=str(folder),
        output_file="official.png",
        iterations_num=1,
        batch_size=1,
        use_ffhq=False,
        use_prog_contrast=False,
        use_range_restart=False,
        use_colormatch=False,
        use_noise_aug_all=True,
        regularize_content=text,
    )


def enter(checkout: Path) -> None:
    """Make the checkout importable, with empty modules for imports that are not used here."""
    os.chdir(checkout)
    sys.path.insert(0, str(checkout))
    for (
        folder
    ) in checkout.iterdir():  # an installed package of the same name would win over a folder of modules
        if folder.is_dir() and folder.name.isidentifier():
            package = ModuleType(folder.name)
            package.__path__ = [str(folder)]
            sys.modules[folder.name] = package
    kornia, augmentation = ModuleType("kornia"), ModuleType("kornia.augmentation")
    augmentation.RandomAffine = augmentation.RandomPerspective = lambda *_, **__: nn.Identity()  # type: ignore
    kornia.augmentation = augmentation  # type: ignore[attr-defined]
    shape_base = ModuleType("numpy.core.shape_base")
    shape_base.block = None  # type: ignore[attr-defined]
    pyplot = ModuleType("matplotlib.pyplot")
    matplotlib = ModuleType("matplotlib")
    matplotlib.pyplot = pyplot  # type: ignore[attr-defined]
    for module in (kornia, augmentation, shape_base, matplotlib, pyplot, ModuleType("cv2")):
        sys.modules[module.__name__] = module
    sys.modules["clip"] = importlib.import_module("CLIP.clip")


def put_in(editor_module: ModuleType, scale: Scale, half: bool) -> None:
    """Replace the weights that it reads from files by random ones, and its fixed sizes by those of `scale`."""
    states = {"unet": unet_state(scale), "vit": vit_state(scale)}
    create = editor_module.create_model_and_diffusion

    def create_model_and_diffusion(**config: Any) -> tuple[nn.Module, Any]:
        config = {**config, "num_channels": scale.unet.model_channels, "use_fp16": half}
        model, diffusion = create(**config)
        if not half:
            model.convert_to_fp16 = lambda: None
        return model, diffusion

    def hub(_repo: str, _name: str) -> nn.Module:
        vit = scale.vit.build()
        for block in vit.blocks:
            block.attn.fused_attn = False  # Facebook's code multiplies the matrices itself
        vit.load_state_dict(states.pop("vit"))
        return vit

    def load(name: str, jit: bool = False, device: Any = "cpu") -> tuple[nn.Module, Any]:
        model = clip.model.build_model(clip_state(scale, name)).to(device)
        if str(device) == "cpu":
            model.float()
        return model, clip.clip._transform(model.visual.input_resolution)

    clip: Any = sys.modules["clip"]
    clip.load = load
    editor_module.create_model_and_diffusion = create_model_and_diffusion  # type: ignore[attr-defined]
    torch.load = lambda *_, **__: states.pop("unet")  # type: ignore[assignment]
    torch.hub.load = hub  # type: ignore[assignment]
    extractor = sys.modules["model_vit.extractor"].VitExtractor
    extractor.get_head_num = lambda _self: scale.vit.num_heads
    extractor.get_embedding_dim = lambda _self: scale.vit.embed_dim


def _save(picture: Tensor, path: Path) -> None:
    pixels = picture[0].add(1).mul(127.5).round().byte().permute(1, 2, 0)
    Image.fromarray(pixels.numpy()).save(path)
