"""Translations in a pipeline of Ray Data (`diffuseit[ray]`).

    import ray
    from diffuseit.ray import Request, Translator

    images = ray.data.read_binary_files("s3://bucket/photos", include_paths=True)
    results = images.map_batches(
        Translator,
        fn_constructor_args=(Request(to="winter landscape", models="paper", device="cuda"),),
        concurrency=8,
        num_gpus=1,
        batch_size=8,
    )

Each row gets the columns `result` (a PNG file), `summary` (the verdict), and `error`.
"""

from .cli.ray import Translator
from .cli.request import Request

__all__ = ["Request", "Translator"]
