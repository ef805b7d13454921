"""Own networks: a JSON file that names the files of a set.

    {
      "ddpm": "unet.pt",
      "ddpm_flags": {"image_size": 128, "num_channels": 64, "attention_resolutions": "16", "learn_sigma": true},
      "vit": "dino-b8",
      "clip": ["clip-b32", "our-clip.safetensors"]
    }

Each network is a name of the catalog, `pocket`, or a file; a relative path starts at the folder of the JSON file. A
file may come from somebody else: it is read against types and bounds, and nothing in it is executed.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .errors import InputError, ModelError
from .models.bundle import Models
from .models.hub.catalog import catalog, entry_of_file
from .models.load import load_entry, load_model
from .schema import LARGEST_JSON, check, from_json, number, parse, printable, text

if TYPE_CHECKING:
    from .models.configs import DDPMConfig
    from .models.ddpm import PixelDDPM

FILE = "models.json"
"""The name that is looked for in a folder."""

POCKET = "pocket"
_LONGEST_PATH = 4_096
_MOST_CLIPS = 16


@dataclass(frozen=True)
class Flags:
    """The flags of guided-diffusion's scripts, with their defaults there, and `in_channels`, 1 for a gray network.

    Flags of training alone are read and change nothing.
    """

    image_size: int = number(64, low=1, high=2048)
    num_channels: int = number(128, low=1, high=4096)
    num_res_blocks: int = number(2, low=1, high=16)
    num_heads: int = number(4, low=1, high=1024)
    num_heads_upsample: int = number(-1, low=-1, high=1024)
    num_head_channels: int = number(-1, low=-1, high=4096)
    attention_resolutions: str = text("16,8", longest=100)
    channel_mult: str = text("", longest=100)
    dropout: float = number(0.0, low=0, high=1)
    class_cond: bool = False
    use_checkpoint: bool = False
    use_scale_shift_norm: bool = True
    resblock_updown: bool = False
    use_fp16: bool = False
    use_new_attention_order: bool = False
    learn_sigma: bool = False
    diffusion_steps: int = number(1000, low=25, high=10_000)
    noise_schedule: Literal["linear", "cosine"] = "linear"
    timestep_respacing: str = text("", longest=100)
    use_kl: bool = False
    predict_xstart: bool = False
    rescale_timesteps: bool = False
    rescale_learned_sigmas: bool = False
    in_channels: Literal[1, 3] = 3

    def __post_init__(self) -> None:
        check(self)

    def configs(self) -> DDPMConfig:
        """Return the U-Net and its process. Raise `InputError` for flags that make no network."""
        from .models.ddpm import DiffusionConfig
        from .models.unet import UNetConfig

        try:
            unet = UNetConfig.from_guided_diffusion(asdict(self))
        except InputError:
            raise
        except (ValueError, ArithmeticError):
            raise InputError("attention_resolutions and channel_mult must be numbers with commas") from None
        channels = self.in_channels * (2 if self.learn_sigma else 1)
        return (
            replace(unet, in_channels=self.in_channels, out_channels=channels),
            DiffusionConfig.from_guided_diffusion(asdict(self)),
        )


@dataclass(frozen=True)
class OwnModels:
    """The networks of a set by name or file. `ddpm_flags` is for a file that does not tell its configuration."""

    ddpm: str = text(longest=_LONGEST_PATH)
    vit: str = text(longest=_LONGEST_PATH)
    clip: tuple[str, ...] = number(longest=_MOST_CLIPS)
    ddpm_flags: Flags | None = None

    def __post_init__(self) -> None:
        check(self)
        if not self.clip:
            raise InputError("clip is empty: name at least one CLIP")


def own_file(path: Path) -> Path | None:
    """Return the JSON file at `path` or in the folder there; None if there is none."""
    for found in (path, path / FILE):
        try:
            if found.suffix.lower() == ".json" and found.is_file():
                return found
        except (OSError, ValueError):
            continue
    return None


def own_name(file: Path) -> str:
    """Return what a recipe calls the set: the folder and the name of its JSON file. No other set has such a name."""
    return printable(f"{file.absolute().parent.name}/{file.name}")


def config_digest(ddpm: PixelDDPM) -> str:
    """Return the SHA-256 of how a diffusion model is used, which its weights do not tell."""
    return hashlib.sha256(json.dumps(ddpm.config(), sort_keys=True).encode()).hexdigest()


def load_own(file: Path) -> Models:
    """Return the networks that a JSON file names.

    Raise `InputError` for a file that is damaged or has anything else in it, and `ModelError` for a network that is
    missing or cannot be read.
    """
    from .models.clip import CLIPEnsemble, load_clip
    from .models.ddpm_checkpoint import load_ddpm
    from .models.vit import load_vit
    from .pocket.models import pocket_clip, pocket_ddpm, pocket_vit

    where = printable(str(file))
    named = _read(file, where)
    try:
        config = None if named.ddpm_flags is None else named.ddpm_flags.configs()
    except InputError as error:
        raise InputError(f"{where}: ddpm_flags: {error}") from None

    def load(kind: str, name: str, pocket: Any, load_file: Any, **options: Any) -> Any:
        if name == POCKET:
            return pocket()
        if name in catalog():
            if catalog()[name].kind != kind:
                raise InputError(f"{where}: {name} is no {kind}, but a {catalog()[name].kind}")
            return load_model(name)
        path = file.parent / name
        entry = entry_of_file(path.name)
        if entry is not None and entry.kind == kind and not options:
            return load_entry(entry, path)
        return load_file(path, **options)

    try:
        return Models(
            load(
                "ddpm", named.ddpm, pocket_ddpm, load_ddpm, **({} if config is None else {"config": config})
            ),
            load("vit", named.vit, pocket_vit, load_vit),
            CLIPEnsemble(
                [load("clip", name, lambda: pocket_clip().models[0], load_clip) for name in named.clip]
            ),
        )
    except ModelError as error:
        raise ModelError(f"{where}: {error}") from None


def _read(file: Path, where: str) -> OwnModels:
    try:
        if file.stat().st_size > LARGEST_JSON:
            raise InputError(f"{where} is larger than any list of networks")
        document = file.read_bytes()
    except OSError as error:
        raise InputError(f"{where} cannot be read: {error.strerror or error}") from None
    values = parse(document, where)
    try:
        return from_json(OwnModels, values, "the set")
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    except RecursionError:
        raise InputError(f"{where} is nested too deeply") from None
