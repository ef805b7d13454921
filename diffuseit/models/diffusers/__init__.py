"""Latent diffusion models in the layout of the diffusers library: a folder with `model_index.json`."""
