"""What a recipe may choose, in a module without heavy imports: the command's help names it."""

from typing import Literal

FitMode = Literal["keep", "crop", "stretch"]
"""Keep the image's shape, crop its middle to a square, or stretch it to one."""

SizeMode = Literal["model", "source"]
"""The size of a result: the model's, or the source's."""

Folder = Literal["images", "film", "views"]
"""What a folder is: images that have nothing to do with each other, the frames of a film, or views of a scene."""

LARGEST_SEED = 2**64 - 1
