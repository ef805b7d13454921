"""Files of weights read by ComfyUI's own loaders, as its nodes Load Diffusion Model and Load VAE read them."""

from pathlib import Path
from typing import Any

import comfy.sd
import comfy.utils


def load_diffusion_model(path: Path) -> Any:
    """Return a MODEL."""
    return comfy.sd.load_diffusion_model(str(path))


def load_vae(path: Path) -> Any:
    """Return a VAE."""
    state, metadata = comfy.utils.load_torch_file(str(path), return_metadata=True)
    vae = comfy.sd.VAE(sd=state, metadata=metadata)
    vae.throw_exception_if_invalid()
    # How newer versions of ComfyUI load a file again, for a patcher whose weights stay where they are.
    if hasattr(comfy.sd, "load_vae_patcher"):
        vae.patcher.cached_patcher_init = (comfy.sd.load_vae_patcher, (str(path), metadata, None))
    return vae
