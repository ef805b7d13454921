"""What is said of a run before it starts, without a ComfyUI."""

import importlib
from dataclasses import replace

import pytest
from nodes_alone import import_node_module
from PIL import Image

from diffuseit.models.hub.catalog import members
from diffuseit.preset_files import presets_folder, write_preset
from diffuseit.presets import PRESETS, TEXT_DEFAULT
from tools import fake_comfyui

PAPER = PRESETS["official-text"].sampler
SAMPLER = "9:7"


@pytest.fixture
def base(tmp_path):
    """A folder of ComfyUI with two photos and a file that is none."""
    (tmp_path / "input").mkdir()
    Image.new("RGB", (640, 480)).save(tmp_path / "input" / "photo.png")
    Image.new("RGBA", (30, 40), (1, 2, 3, 255)).save(tmp_path / "input" / "opaque.png")
    Image.new("RGBA", (30, 40), (1, 2, 3, 128)).save(tmp_path / "input" / "cut.png")
    Image.new("RGB", (50, 60)).save(tmp_path / "outside.png")
    (tmp_path / "input" / "text.png").write_text("x")
    return tmp_path


@pytest.fixture
def answer(monkeypatch, base):
    """`answer(prompt)`: what is known of the run of its sampler."""
    estimate = import_node_module(monkeypatch, "estimate", fake_comfyui.modules(base))
    package = importlib.import_module(estimate.__package__)
    nodes = {node.define_schema().node_id: node for node in package.node_classes()}
    importlib.import_module(f"{estimate.__package__}.comfy.folders").register()
    measured = estimate.Measured(base / "runs.json")
    return lambda prompt, node=SAMPLER: estimate.answer(
        {"prompt": prompt, "node": node}, nodes, measured, "cpu"
    )


def graph(**changes):
    """A prompt in the format of ComfyUI's API; `changes` are the inputs of nodes, by their names here."""
    nodes = {
        "ddpm": ("DiffuseITLoadDDPM", {"model": "pocket", "dtype": "auto"}),
        "vit": ("DiffuseITLoadViT", {"model": "pocket", "layer": -1}),
        "clip": ("DiffuseITLoadCLIP", {"model": "pocket"}),
        "example": ("DiffuseITExamplePicture", {"picture": "lion", "scene": 0, "mask_of": "foreground"}),
        "photo": ("LoadImage", {"image": "photo.png"}),
        "scaled": ("ImageScale", {"image": ["photo", 0], "width": 100, "height": 50}),
        "style": (
            "DiffuseITTextStyleLoss",
            {"clip": ["clip", 0], "to_text": "winter landscape", "from_text": ""},
        ),
        "preset": (
            "DiffuseITPreset",
            {
                "preset": "official-text",
                "vit": ["vit", 0],
                "clip": ["clip", 0],
                "to_text": "a tiger",
                "from_text": "",
            },
        ),
        "start": (
            "DiffuseITStartOptions",
            {"fit": "crop", "start_color": 0.0, "restart_above": 0.0, "max_restarts": 0},
        ),
        SAMPLER: (
            "DiffuseITSampler",
            {
                "ddpm": ["ddpm", 0],
                "image": ["example", 0],
                "losses": ["style", 0],
                "seed": 3,
                "steps": 20,
                "skip": 5,
                "size": "model",
            },
        ),
    }
    changes = {SAMPLER if name == "sampler" else name: inputs for name, inputs in changes.items()}
    return {
        id: {"class_type": kind, "inputs": inputs | changes.get(id, {})}
        for id, (kind, inputs) in nodes.items()
    }


def kinds(found):
    return [note["kind"] for note in found["notes"]]


@pytest.fixture
def translate():
    """`translate(inputs)`: a prompt of DiffuseIT Translate with pocket models and a photo."""

    def prompt(**inputs):
        widgets = {"to_text": "a zeppelin", "from_text": "", "strength": 0.5, "seed": 3, "size": "model"}
        links = {"models": ["set", 3], "image": ["photo", 0]}
        nodes = {
            "set": {"class_type": "DiffuseITLoadModels", "inputs": {"set": "pocket"}},
            SAMPLER: {"class_type": "DiffuseITTranslate", "inputs": widgets | links | inputs},
        }
        return graph() | nodes

    return prompt


def test_a_translation_by_a_set_of_models_is_known_as_well(answer, translate):
    found = answer(translate())
    assert found["size"] == (72, 54)
    assert kinds(found) == ["drawn_scenes", "unknown_words"]
    assert kinds(answer(translate(style_image=["example", 0]))) == ["drawn_scenes"]


def test_the_fit_of_variations_decides_the_size_unless_options_do(answer):
    prompt = graph(sampler={"image": ["photo", 0], "fit": "stretch", "count": 2})
    prompt[SAMPLER]["class_type"] = "DiffuseITVariations"
    assert answer(prompt)["size"] == (64, 64)
    prompt[SAMPLER]["inputs"] |= {"options": ["start", 0], "size": "source"}
    assert answer(prompt)["size"] == (480, 480)


def test_nothing_is_said_of_an_example(answer):
    found = answer(graph())
    assert found["notes"] == [] and found["settings"] == {} and found["preset"] is None
    assert found["size"] == (64, 64)


@pytest.mark.parametrize(
    ("sampler", "size"),
    [
        ({"image": ["photo", 0]}, (72, 54)),
        ({"image": ["photo", 0], "size": "source"}, (640, 480)),
        ({"image": ["photo", 0], "options": ["start", 0]}, (64, 64)),
        ({"image": ["photo", 0], "options": ["start", 0], "size": "source"}, (480, 480)),
        ({"image": ["scaled", 0]}, (96, 48)),
        ({"image": ["gone", 0]}, None),
    ],
)
def test_the_size_of_the_result_is_known(answer, sampler, size):
    assert answer(graph(sampler=sampler))["size"] == size


def test_the_size_of_a_published_model_is_known_without_its_file(answer):
    prompt = graph(ddpm={"model": "256x256_diffusion_uncond.pt"}, sampler={"image": ["photo", 0]})
    width, height = answer(prompt)["size"]
    assert 60_000 < width * height < 66_000 and width * 3 == pytest.approx(height * 4, rel=0.02)
    unknown = graph(ddpm={"model": "mine.safetensors"}, sampler={"image": ["photo", 0]})
    assert answer(unknown)["size"] is None


@pytest.mark.parametrize("name", ["text.png", "gone.png", "../outside.png", "", "\0", "x" * 5000])
def test_a_file_that_is_no_picture_of_comfyuis_says_nothing(answer, name):
    found = answer(graph(photo={"image": name}, sampler={"image": ["photo", 0], "mask": ["photo", 1]}))
    assert found["size"] is None and kinds(found) == ["drawn_scenes"]


def test_pocket_models_know_drawn_scenes_only(answer):
    assert kinds(answer(graph(sampler={"image": ["photo", 0]}))) == ["drawn_scenes"]
    assert kinds(answer(graph(sampler={"image": ["scaled", 0]}))) == ["drawn_scenes"]
    assert kinds(answer(graph(scaled={"image": ["example", 0]}, sampler={"image": ["scaled", 0]}))) == []
    large = graph(ddpm={"model": "256x256_diffusion_uncond.pt"}, sampler={"image": ["photo", 0]})
    assert kinds(answer(large)) == ["missing"]


def test_words_that_no_caption_had_are_named(answer):
    text = "A cyberpunk city at night, neon; neon, Oil painting of the lion's head"
    (note,) = answer(graph(style={"to_text": text, "from_text": "사자"}))["notes"]
    assert note == {"kind": "unknown_words", "words": ["cyberpunk", "city", "neon", "oil", "사자"]}
    assert kinds(answer(graph(style={"to_text": text}, clip={"model": "clip-b32.safetensors"}))) == [
        "missing"
    ]
    ensemble = graph(style={"to_text": text}, clip={"further.clip0": ["other", 0]})
    ensemble["other"] = {"class_type": "DiffuseITLoadCLIP", "inputs": {"model": "pocket"}}
    assert kinds(answer(ensemble)) == []
    image = graph(
        preset={"preset": "official-image", "to_text": text, "style_image": ["photo", 0]},
        sampler={"losses": ["preset", 0]},
    )
    assert kinds(answer(image)) == []


def test_a_run_without_steps_is_seen(answer):
    assert answer(graph(sampler={"skip": 20}))["notes"] == [{"kind": "no_steps", "steps": 20, "skip": 20}]
    by_preset = graph(sampler={"skip": 20, "losses": ["preset", 0], "options": ["preset", 1]})
    assert kinds(answer(by_preset)) == []
    assert kinds(answer(graph(sampler={"skip": ["photo", 0]}))) == []


@pytest.mark.parametrize(
    ("photo", "said"), [("photo.png", ["no_mask"]), ("opaque.png", ["empty_mask"]), ("cut.png", [])]
)
def test_the_mask_of_a_picture_without_transparent_parts_is_empty(answer, photo, said):
    found = answer(graph(photo={"image": photo}, sampler={"mask": ["photo", 1]}))
    assert kinds(found) == said
    assert kinds(answer(graph(photo={"image": photo}, sampler={"mask": ["example", 1]}))) == []


def test_missing_models_say_which_can_be_downloaded(answer, base):
    found = answer(
        graph(
            ddpm={"model": "ffhq_10m.pt"},
            vit={"model": "sub/dino_deitsmall16_pretrain.pth"},
            clip={"model": "mine.safetensors"},
            sampler={"losses": ["preset", 0]},
        )
    )
    (note,) = found["notes"]
    assert set(note["models"]) == {
        "ffhq_10m.pt",
        "sub/dino_deitsmall16_pretrain.pth",
        "mine.safetensors",
    }
    assert note["downloads"] == ["dino-s16"]
    (base / "models" / "diffuseit").mkdir(parents=True)
    (base / "models" / "diffuseit" / "mine.safetensors").write_bytes(b"x")
    assert "missing" not in kinds(answer(graph(clip={"model": "mine.safetensors"})))


def test_the_models_of_a_set_are_missing_too(answer):
    prompt = graph(sampler={"ddpm": ["set", 0]})
    loader = {"class_type": "DiffuseITLoadModels", "inputs": {"set": "paper-faces"}}
    (note,) = (note for note in answer(prompt | {"set": loader})["notes"] if note["kind"] == "missing")
    assert note["models"] == [entry.name for entry in members("paper-faces")]
    assert note["downloads"] == note["models"][1:]  # the first one comes by hand
    assert "missing" not in kinds(answer(prompt | {"set": loader | {"inputs": {"set": "pocket"}}}))


def test_a_saved_preset_counts_as_one(answer, base):
    folder = base / "user" / "default" / "diffuseit" / "presets"
    write_preset(replace(PRESETS["official-image"], name="mine"), folder)
    found = answer(
        graph(preset={"preset": "mine"}, sampler={"losses": ["preset", 0], "options": ["preset", 1]})
    )
    assert {"kind": "preset_needs", "preset": "mine", "input": "style_image"} in found["notes"]
    assert found["preset"] == "mine"
    assert found["settings"]["steps"] == PRESETS["official-image"].sampler.steps


def test_a_preset_that_lacks_an_input_is_seen(answer):
    lacking = graph(preset={"preset": "official-image"}, sampler={"losses": ["preset", 0]})
    assert answer(lacking)["notes"] == [
        {"kind": "preset_needs", "preset": "official-image", "input": "style_image"}
    ]


def test_a_saved_preset_is_known_as_those_of_the_package(answer, monkeypatch, tmp_path):
    monkeypatch.setenv("DIFFUSEIT_PRESETS", str(tmp_path / "presets"))
    image = PRESETS["fast-image"]
    own = replace(image, name="mine", sampler=replace(image.sampler, steps=7, skip=2))
    write_preset(own, presets_folder())
    found = answer(
        graph(preset={"preset": "mine"}, sampler={"losses": ["preset", 0], "options": ["preset", 1]})
    )
    assert found["preset"] == "mine" and found["settings"]["steps"] == 7
    assert found["steps"] == len(own.sampler.timetable)
    assert found["notes"] == [{"kind": "preset_needs", "preset": "mine", "input": "style_image"}]


def test_a_preset_that_a_link_decides_leaves_all_that_presets_set_open(answer):
    found = answer(graph(preset={"preset": ["style", 0]}, sampler={"options": ["preset", 1]}))
    assert found["steps"] is None and found["preset"] is None
    assert found["settings"] == dict.fromkeys(("steps", "skip", "resample", "method", "step_size"))


def test_variations_without_options_take_the_steps_of_a_new_sampler(answer):
    prompt = graph()
    links = {name: value for name, value in prompt[SAMPLER]["inputs"].items() if isinstance(value, list)}
    prompt[SAMPLER] = {"class_type": "DiffuseITVariations", "inputs": {**links, "seed": 0, "count": 3}}
    assert answer(prompt)["steps"] == len(PRESETS[TEXT_DEFAULT].sampler.timetable)


def test_values_that_options_replace_are_told_with_the_preset(answer):
    found = answer(graph(sampler={"options": ["preset", 1]}))
    assert found["preset"] == "official-text"
    assert found["settings"] == {
        "steps": PAPER.steps,
        "skip": PAPER.skip,
        "resample": PAPER.resample,
        "method": "diffuseit",
        "step_size": PAPER.method.step_size,
    }
    chain = graph(start={"previous": ["preset", 1]}, sampler={"options": ["start", 0]})
    assert answer(chain)["settings"] == found["settings"] and answer(chain)["preset"] == "official-text"
    alone = answer(graph(sampler={"options": ["start", 0]}))
    assert alone["settings"] == {} and alone["preset"] is None
