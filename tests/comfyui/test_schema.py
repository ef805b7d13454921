"""The contract with saved workflows: ids, inputs in order, types, defaults, bounds, options and outputs of all nodes.

schema.txt is what a workflow saved by a user relies on. Inputs and options may be added at the end; whatever else
changes there breaks somebody's graph. To change it on purpose:

    DIFFUSEIT_WRITE_SCHEMA=1 python -m pytest tests/comfyui/test_schema.py

and read its diff.
"""

import os
from pathlib import Path

import pytest
from comfyui.server import PACK_FOLDER

pytestmark = pytest.mark.comfyui

FROZEN = Path(__file__).with_name("schema.txt")
HEADER = "What saved workflows rely on; written and explained by test_schema.py.\n"
NUMBERS = ("default", "min", "max", "step", "round")
FLAGS = ("advanced", "multiline", "control_after_generate")


def test_every_node_is_as_saved_workflows_know_it(server):
    own = [node for node in server.nodes.values() if node["python_module"] == f"custom_nodes.{PACK_FOLDER}"]
    text = HEADER + "".join(f"\n{described(node)}" for node in sorted(own, key=lambda node: node["name"]))
    if os.environ.get("DIFFUSEIT_WRITE_SCHEMA"):
        FROZEN.write_text(text)
    assert text == FROZEN.read_text(), "see the top of test_schema.py"


def described(node):
    """One node, a line for each input, option and output."""
    lines = [node["name"]]
    for kind in ("required", "optional"):  # what is hidden, ComfyUI fills in
        for name in node["input_order"].get(kind, ()):
            lines += described_input(kind, name, *node["input"][kind][name])
    for number, (type_, name) in enumerate(zip(node["output"], node["output_name"], strict=True)):
        many = " list" if node["output_is_list"][number] else ""
        lines.append(f"  output {number} {name}: {type_}{many}")
    if node["output_node"]:
        lines.append("  is an output node")
    return "\n".join(lines) + "\n"


def described_input(kind, name, type_, options):
    facts = [type_]
    facts += [f"{fact} {options[fact]!r}" for fact in NUMBERS if fact in options]
    facts += [flag for flag in FLAGS if options.get(flag)]
    if "template" in options:
        template = options["template"]
        ((inner, (inner_type, _)),) = [item for part in template["input"].values() for item in part.items()]
        facts.append(
            f"{template['min']} to {template['max']} of {inner_type}, {inner} as {template['prefix']}N"
        )
    yield f"  {kind} {name}: {', '.join(facts)}"
    if options.get("image_upload"):
        yield "    - files of the input and the output folder"
        return
    if name == "folder":
        yield "    - folders of the input folder"
    elif name == "model" and "pocket" in options.get("options", ()):
        builtin = options["options"][: options["options"].index("pocket") + 1]
        yield from (f"    - {option}" for option in [*builtin, "files of models/diffuseit"])
    else:
        yield from (f"    - {option}" for option in options.get("options", ()))


def test_every_input_and_output_says_what_it_does(server):
    own = [node for node in server.nodes.values() if node["python_module"] == f"custom_nodes.{PACK_FOLDER}"]
    assert own
    for node in own:
        parts = [node["input"].get(kind, {}) for kind in ("required", "optional")]
        inputs = {name: options for part in parts for name, (_, options) in part.items()}
        inputs |= {
            f"{name}, {inner}": template_options
            for name, options in inputs.items()
            for part in options.get("template", {"input": {}})["input"].values()
            for inner, (_, template_options) in part.items()
        }
        silent = [n for n, o in inputs.items() if not o.get("tooltip") and "template" not in o]
        assert not silent, f"{node['name']} has no tooltip on {silent}"
        assert all(node["output_tooltips"])
        assert node["description"]
        assert node["search_aliases"]
        assert node["display_name"].startswith("DiffuseIT ")
