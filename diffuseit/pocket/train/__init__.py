"""Training recipes of the pocket models: `python -m diffuseit.pocket.train`."""
