"""What a ViT sees, behind an ordinary graph in a real ComfyUI."""

import pytest

pytestmark = pytest.mark.comfyui

SCENES = {
    "summer": ("DiffuseITExamplePicture", {"picture": "summer landscape", "scene": 3}),
    "night": ("DiffuseITExamplePicture", {"picture": "night landscape", "scene": 3}),
    "batch": ("ImageBatch", {"image1": ["summer", 0], "image2": ["night", 0]}),
    "vit": ("DiffuseITLoadViT", {}),
}
SEEN = {"vit": ["vit", 0], "image": ["batch", 0]}


def distance(one, other):
    """Mean absolute difference in levels of 255."""
    return abs(one.astype(float) - other.astype(float)).mean()


def test_a_batch_is_seen_on_one_scale_and_a_layer_shows_content_or_style(server):
    prompt = {
        **SCENES,
        "scenes": ("SaveImage", {"images": ["batch", 0]}),
        **{
            name: (kind, {**SEEN, **inputs})
            for name, kind, inputs in (
                ("keys", "DiffuseITKeyPCA", {}),
                ("early", "DiffuseITKeyPCA", {"layer": 0}),
                ("sky", "DiffuseITSelfSimilarity", {"x": 0.5, "y": 0.05}),
            )
        },
        **{f"save {name}": ("SaveImage", {"images": [name, 0]}) for name in ("keys", "early", "sky")},
    }
    outcome = server.run(prompt)
    scenes, keys, early, sky = (
        server.images(outcome, name) for name in ("scenes", "save keys", "save early", "save sky")
    )
    assert keys.shape == early.shape == sky.shape == scenes.shape
    assert distance(keys[0], keys[1]) < 0.5 * distance(early[0], early[1])
    for own in sky:
        assert own[1, 32].tolist() == [255, 0, 0]
        # Yellow, and what is not the sky is dark.
        assert own[1, 8, 0] > 120 > own[60, 32, 0]
