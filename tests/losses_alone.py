"""Losses without a diffusion model: their guidance on a backbone that knows the picture."""

from dataclasses import dataclass

import torch

from diffuseit.guidance.guidance import Guidance
from diffuseit.guidance.rng import Seeded
from diffuseit.guidance.settings import SamplerSettings
from diffuseit.losses import Loss, Term
from diffuseit.losses.base import Label, weight_field
from diffuseit.models.base import Prediction
from diffuseit.models.ddpm import DiffusionConfig
from diffuseit.models.schedule import make_schedule
from diffuseit.performance.options import FULL_SPEED


class KnowingBackbone:
    """Predicts `picture` exactly, whatever it sees."""

    device, image_size, size_multiple, num_classes = torch.device("cpu"), 64, 1, None
    shows_noise = True

    def __init__(self, picture):
        self.picture = picture

    def schedule(self, respacing):
        return make_schedule("linear", DiffusionConfig().train_timesteps, respacing)

    def predict(self, x_t, schedule, index, y=None):
        x_start = self.picture.expand_as(x_t)
        log_variance = torch.tensor(float(schedule.posterior_log_variance_clipped[index]))
        return Prediction(x_start, schedule.posterior_mean(x_start, x_t, index), log_variance)

    def encode(self, image):
        return image

    decode = show = view = encode

    def networks(self):
        return {}


@dataclass(frozen=True, kw_only=True)
class Toward(Loss):
    """`size` times the mean squared distance of pred_xstart to the gray `level`: a loss that no list knows."""

    labels = {"toward": Label("toward a gray", "#808080")}  # noqa: RUF012

    level: float
    size: float = 1.0
    weight: float = weight_field(1.0)

    def terms(self, source, inputs, features_of):
        def value(context):
            return self.size * (context.features - self.level).square().mean(dim=(1, 2, 3))

        return [Term("toward", self.weight, value, view="pred_xstart")]


def guidance(losses, source, *, options=FULL_SPEED, **settings):
    """The guidance of bound losses for `source`, whose crops are those of seed 0."""
    backbone, rng = KnowingBackbone(source), Seeded(0, len(source))
    return Guidance(losses, source, backbone, SamplerSettings(**settings), rng, options=options)
