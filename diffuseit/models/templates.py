"""The sentences a prompt is put into before its CLIP embeddings are averaged."""

from open_clip import OPENAI_IMAGENET_TEMPLATES

# The official code has 79 of OpenAI's 80 ImageNet templates, in another order.
LEFT_OUT = "a photo of many {}."
TEMPLATES = tuple(
    text for text in (template("{}") for template in OPENAI_IMAGENET_TEMPLATES) if text != LEFT_OUT
)


def fill_templates(text: str) -> list[str]:
    """The 79 sentences about `text`."""
    return [template.replace("{}", text) for template in TEMPLATES]
