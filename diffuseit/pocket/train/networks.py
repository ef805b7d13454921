"""The networks of the pocket world, by name. Each module has a RECIPE, `build`, a `Loss` and what it `ships`."""

from types import ModuleType

from . import clip, flux, judge, taesd, unet, vit

NETWORKS: dict[str, ModuleType] = {
    "judge": judge,
    "clip": clip,
    "vit": vit,
    "unet": unet,
    "taesd": taesd,
    "flux": flux,
}
