"""`diffuseit evaluate`: figures for any folder of results, and a report that can be trusted and opened."""

import csv
import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from diffuseit.cli import app
from diffuseit.evaluation import folder as folder_module
from diffuseit.evaluation import measure as measure_module
from diffuseit.evaluation import report as report_module
from diffuseit.evaluation.figures import FIGURES, summarize
from diffuseit.evaluation.measure import Wanted, measure
from diffuseit.evaluation.pairs import read_targets
from diffuseit.evaluation.report import Report
from diffuseit.evaluation.rows import Row, append_row, read_rows
from diffuseit.evaluation.witnesses import Witnesses
from diffuseit.images.io import save_picture, to_pil
from diffuseit.pocket.witnesses import pocket_witnesses
from diffuseit.pocket.world.render import STYLES, render, sample_geometry
from diffuseit.pocket.world.seeds import TUNING

SUMMER, WINTER, NIGHT = (STYLES["landscape"].index(name) for name in ("summer", "winter", "night"))
TO, FROM = "a winter landscape", "a summer landscape"


def scenes(style, count, first=0, texture=0):
    seeds = [TUNING.start + 20_000 + first + number for number in range(count)]
    return render(sample_geometry("landscape", seeds), [style] * count, [seed + texture for seed in seeds])


def fill(folder, pictures, name="scene{}.png"):
    for number, picture in enumerate(pictures):
        save_picture(to_pil(picture), Path(folder) / name.format(number))


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A folder with four sources and their true translations to winter."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DIFFUSEIT_MODELS", str(tmp_path / "no-models"))
    fill("sources", scenes(SUMMER, 4))
    fill("results", scenes(WINTER, 4, texture=3))
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


def report(folder="report"):
    return json.loads(Path(folder, "report.json").read_text(encoding="utf-8"))


def figures(name, folder="report"):
    return next(row["figures"] for row in report(folder)["rows"] if row["result"] == name)


class Page(HTMLParser):
    """What a browser would find in a page."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.attributes, self.text = [], [], ""
        self.feed(Path(path).read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text += data


# --- figures


def test_true_translations_are_in_place_and_reach_their_text(work):
    result = run("results", "--sources", "sources", "--to", TO, "--from", FROM)
    assert result.exit_code == 0, result.output
    summary = report()["summary"]
    assert summary["in_place"]["mean"] == 1
    assert summary["shift"]["mean"] < 0.2
    assert summary["text_reached.pocket"]["mean"] == 1
    assert summary["structure"]["count"] == 4
    low, high = summary["edge_f1"]["interval95"]
    assert low < summary["edge_f1"]["mean"] < high
    assert "4 images" in result.stdout


def test_cheats_lose(work):
    """A copy does not reach the text, another scene loses the structure, a shift is found, gray has no edges."""
    winter = scenes(WINTER, 4, texture=3)
    fill("results", [scenes(SUMMER, 1)[0]], "scene0.png")
    fill("results", [winter[2]], "scene1.png")
    fill("results", [winter[2].roll((2, -3), (1, 2))], "scene2.png")
    result = run("results", "--sources", "sources", "--to", TO, "--from", FROM)
    assert result.exit_code == 0, result.output
    copy, other, moved, true = (figures(f"scene{number}.png") for number in range(4))
    assert copy["text_reached.pocket"] == 0 and copy["structure"] < true["structure"]
    assert other["shift"] is None and other["in_place"] == 0 and other["structure"] > 2 * true["structure"]
    assert moved["shift_down"] == pytest.approx(2, abs=0.25)
    assert moved["shift_right"] == pytest.approx(-3, abs=0.25)
    assert moved["in_place"] == 0 and true["in_place"] == 1
    page = Path("report/report.html").read_text(encoding="utf-8")
    assert page.index("<h3>scene3.png") > max(page.index(f"<h3>scene{number}.png") for number in range(3))


def test_a_picture_of_one_color_has_figures_that_are_numbers(work):
    fill("results", [torch.zeros(3, 64, 64)], "scene0.png")
    fill("sources", [torch.ones(3, 64, 64)], "scene1.png")
    assert run("results", "--sources", "sources", "--to", TO).exit_code == 0
    assert "NaN" not in Path("report/report.json").read_text(encoding="utf-8")
    for number in range(2):
        found = figures(f"scene{number}.png")
        assert found["shift"] is None and found["shift_confidence"] == 0


def test_style_images_for_all_give_a_match_and_distances_of_sets(work):
    fill("winter", scenes(WINTER, 4, first=100), "w{}.png")
    fill("night", scenes(NIGHT, 4, first=100), "n{}.png")
    for style in ("winter", "night"):
        assert (
            run("results", "--sources", "sources", "--style", style, "-o", style + "-report").exit_code == 0
        )
    near, far = report("winter-report"), report("night-report")
    assert near["summary"]["style"]["mean"] > 0.9 > far["summary"]["style"]["mean"]
    for distance in ("fid", "sfid", "sfid_with_diagonal"):
        assert near["sets"][distance] < far["sets"][distance]
    assert near["sets"]["style_images"] == 4


def test_style_images_of_the_same_names_belong_to_one_result_each(work):
    style = scenes(WINTER, 4, first=100)
    style[1] = scenes(NIGHT, 1, first=100)[0]
    fill("style", style)
    assert run("results", "--sources", "sources", "--style", "style").exit_code == 0
    matches = [figures(f"scene{number}.png")["style"] for number in range(4)]
    assert min(range(4), key=matches.__getitem__) == 1


def test_distances_of_sets_need_two_images(work):
    fill("style", scenes(WINTER, 1, first=100))
    result = run("results", "--sources", "sources", "--style", "style")
    assert result.exit_code == 0
    assert "2 style images are needed, and there are 4 and 1" in result.stderr
    assert report()["sets"] == {}


def test_style_images_in_a_folder_for_each_class_give_csfid(work):
    fill("results", scenes(NIGHT, 2), "night{}.png")
    fill("sources", scenes(SUMMER, 2), "night{}.png")
    for name, style in (("winter", WINTER), ("night", NIGHT)):
        fill(f"style/{name}", scenes(style, 3, first=100), "s{}.png")
    lines = [f"scene{number}.png,winter" for number in range(4)] + [
        f"night{number}.png,night" for number in range(2)
    ]
    right = table("file,class", *lines)
    swapped = table(
        "file,class",
        *(line.replace("winter", "x").replace(",night", ",winter").replace("x", "night") for line in lines),
        name="swapped.csv",
    )
    found = {}
    for name in (right, swapped):
        result = run(
            "results", "--sources", "sources", "--style", "style", "--targets", name, "-o", f"{name}-out"
        )
        assert result.exit_code == 0, result.output
        found[name] = report(f"{name}-out")["sets"]
    assert found[right]["csfid"] < found[swapped]["csfid"] / 3
    assert found[right]["sfid"] == found[swapped]["sfid"]
    assert found[right]["csfid_with_diagonal"] > found[right]["csfid"]
    page = Path(f"{right}-out/report.html").read_text(encoding="utf-8")
    assert "CSFID" in page and "CSFID" in result.stdout


def test_csfid_needs_style_images_of_every_class(work):
    fill("style/night", scenes(NIGHT, 3, first=100), "s{}.png")
    result = run("results", "--sources", "sources", "--style", "style")
    assert "CSFID needs the target class of every result" in result.stderr
    lines = [f"scene{number}.png,winter" for number in range(4)]
    result = run(
        "results", "--sources", "sources", "--style", "style", "--targets", table("file,class", *lines)
    )
    assert result.exit_code == 0
    assert "there is no folder of winter" in result.stderr
    assert "csfid" not in report()["sets"]


def test_a_mask_tells_the_background(work):
    source = scenes(SUMMER, 4)
    mask = torch.zeros(1, 64, 64)
    mask[:, 20:50, 10:40] = 1
    fill("results", torch.where(mask > 0, scenes(WINTER, 4), source))
    for number in range(3):
        save_mask(mask, f"masks/scene{number}.png")
    result = run("results", "--sources", "sources", "--mask", "masks")
    assert result.exit_code == 0
    assert figures("scene0.png")["background_psnr"] == 100
    assert figures("scene0.png")["background_ssim"] == pytest.approx(1)
    assert figures("scene3.png")["background_psnr"] is None
    assert "1 result has no mask: scene3.png" in result.stderr


def save_mask(mask, path):
    Path(path).parent.mkdir(exist_ok=True)
    Image.fromarray(mask[0].mul(255).byte().numpy()).save(path)


# --- the table


def table(*lines, name="targets.csv"):
    Path(name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return name


def test_a_table_says_what_each_result_should_show(work):
    fill("results", scenes(NIGHT, 1), "scene1.png")
    fill("other", scenes(SUMMER, 1), "named-otherwise.png")
    Path("other/named-otherwise.png").rename("sources/named-otherwise.png")
    Path("results/scene0.png").rename("results/from another tool.png")
    targets = table(
        "file,source,to,from,class",
        f"from another tool.png,named-otherwise.png,{TO},{FROM},winter",
        "scene1.png,,a landscape at night,,night",
        f'scene2.png,,"{TO}, with snow",,night',
        "gone.png,,nothing,,1",
    )
    result = run("results", "--sources", "sources", "--targets", targets)
    assert result.exit_code == 1  # of scene3, which has no row
    assert "scene3.png: no row in targets.csv" in result.stderr
    assert "1 row names no result: gone.png" in result.stderr
    assert [
        figures(name)["class_reached"] for name in ("from another tool.png", "scene1.png", "scene2.png")
    ] == [1, 1, 0]
    assert figures("from another tool.png")["text_reached.pocket"] == 1
    assert figures("scene1.png").get("text_reached.pocket") is None
    assert report()["rows"][-1]["to"] == f"{TO}, with snow"


@pytest.mark.parametrize("separator", [";", "\t"])
def test_tables_of_spreadsheets_are_read(work, separator):
    name = table(separator.join(("file", "to")), separator.join(("a.png", "one, two")))
    assert read_targets(Path(name))["a.png"].to == "one, two"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["a.png,winter"], "the first line must name file"),
        (["file,to,colour", "a.png,winter,red"], "the first line must name file"),
        (["file,to", "a.png"], "line 2 has 1 cells"),
        (["file,to", ",winter"], "line 2 names no file"),
        (["file,to", "a.png,x", "a.png,y"], "line 3 names 'a.png' for the second time"),
        (["file,to", 'a.png,"x'], "is no CSV"),
        (["file,to", "a.png," + "x" * 3000], "line 2: Target.to has 3000 characters"),
        (["file,to"], "has no rows"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(work, lines, message):
    result = run("results", "--sources", "sources", "--targets", table(*lines))
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_class_that_the_classifier_has_not_is_refused_before_any_work(work):
    result = run("results", "--sources", "sources", "--targets", table("file,class", "scene0.png,spring"))
    assert result.exit_code == 2
    assert "the class 'spring' is not known" in result.stderr
    assert not Path("report").exists()


# --- pairs and bad input


def test_names_that_do_not_pair_are_said_and_the_others_measured(work):
    Path("results/scene0.png").rename("results/nobody.png")
    Path("results/scene1.png").write_bytes(b"broken")
    Path("results/notes.txt").write_text("no image")
    result = run("results", "--sources", "sources")
    assert result.exit_code == 1
    assert "nobody.png: no source of this name in sources" in result.stderr
    assert "scene1.png is not an image" in result.stderr
    assert "1 source has no result: scene0.png" in result.stderr
    assert [row["result"] for row in report()["rows"]] == ["scene2.png", "scene3.png"]
    assert report()["failures"].keys() == {"nobody.png", "scene1.png"}


def test_results_of_another_kind_of_file_and_of_diffuseits_own_names_pair(work):
    source = scenes(SUMMER, 1)[0]
    for folder in ("sources", "results"):
        for path in Path(folder).iterdir():
            path.unlink()
    fill("sources", [source], "one.jpg")
    fill("sources", [source], "two.jpg")
    fill("sources", [source], "two.png")
    fill("results", [source], "one.webp")
    fill("results", [source], "two.jpg.png")
    fill("results", [source], "two.webp")
    result = run("results", "--sources", "sources")
    pairs = {row["result"]: row["source"] for row in report()["rows"]}
    assert pairs == {"one.webp": "one.jpg", "two.jpg.png": "two.jpg"}
    assert "two.webp: it may belong to each of two.jpg, two.png" in result.stderr


def test_sizes_that_differ_are_resized_and_said(work):
    image = Image.open("sources/scene0.png")
    image.resize((128, 128)).save("sources/scene0.png")
    image.resize((160, 64)).save("sources/scene1.png")
    assert run("results", "--sources", "sources").exit_code == 0
    notes = {row["result"]: row["notes"] for row in report()["rows"]}
    assert notes["scene0.png"] == ["the source was resized from 128x128 to 64x64"]
    assert notes["scene1.png"] == [
        "the source was resized from 160x64 to 64x64, another shape: it is stretched"
    ]
    assert notes["scene2.png"] == []
    assert figures("scene0.png")["in_place"] == 1


def test_large_results_are_measured_smaller(monkeypatch):
    monkeypatch.setattr(measure_module, "MOST_PIXELS", 64**2)
    source, result = scenes(SUMMER, 1), scenes(WINTER, 1)
    large = torch.nn.functional.interpolate(result, (128, 128), mode="bicubic")
    found = measure(large, source, Wanted(), Witnesses("none"))
    assert found.notes == ("measured at 64x64 instead of 128x128",)
    assert found.values["in_place"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("results", "--sources", "nowhere"), "--sources is nowhere, which is no folder"),
        (("nowhere", "--sources", "sources"), "RESULTS is nowhere, which is no folder"),
        (("empty", "--sources", "sources"), "There are no images in empty"),
        (("results", "--sources", "empty"), "There are no images in empty"),
        (
            ("results", "--sources", "sources", "--style", "gone.png"),
            "--style is gone.png, which is not there",
        ),
        (("results", "--sources", "sources", "--from", "x"), "needs --to TEXT beside it"),
        (("results", "--sources", "sources", "--to", " "), "--to is empty"),
        (("results", "--sources", "others"), "None of the 4 images in results can be measured"),
        (
            ("results", "--sources", "sources", "--to", "x", "--networks", "standard"),
            "diffuseit models download",
        ),
        (("results", "--sources", "sources", "--style", "others", "--networks", "standard"), "needs a ViT"),
    ],
)
def test_mistakes_are_one_line_before_any_work(work, arguments, message):
    Path("empty").mkdir()
    fill("others", scenes(SUMMER, 1), "unlike.png")
    result = run(*arguments)
    assert result.exit_code == 2
    lines = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1 and message in lines[0]
    assert not Path("report").exists()


def test_without_any_network_the_edges_still_tell(work):
    result = run("results", "--sources", "sources", "--networks", "standard")
    assert result.exit_code == 0
    assert "not measured without dino-b8" in result.stderr
    assert report()["summary"].keys() == {
        "in_place", "shift", "zoom", "shift_down", "shift_right", "shift_confidence", "edge_f1",
    }  # fmt: skip


def test_a_network_that_guided_is_no_fair_judge(work):
    for number in range(2):
        Path(f"sources/scene{number}.png").unlink()
    translated = CliRunner().invoke(app, ["translate", "sources", "--to", TO, "-o", "own", "--steps", "2"])
    assert translated.exit_code == 0, translated.output
    result = run("own", "--sources", "sources", "--to", TO)
    assert "pocket CLIP guided 2 of these 2 images" in result.stderr
    assert "judge guided" not in result.stderr


# --- resuming


def test_rows_that_are_there_are_not_measured_again(work, monkeypatch):
    assert run("results", "--sources", "sources", "--to", TO).exit_code == 0
    first = report()
    measured = []
    real = folder_module.measure

    def counted(*arguments):
        measured.append(arguments)
        return real(*arguments)

    monkeypatch.setattr(folder_module, "measure", counted)
    with Path("report/rows.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"name": "cut of')  # as a process leaves it that is killed
    assert run("results", "--sources", "sources", "--to", TO).exit_code == 0
    assert not measured
    assert report()["rows"] == first["rows"]
    fill("results", scenes(NIGHT, 1), "scene2.png")
    assert run("results", "--sources", "sources", "--to", TO).exit_code == 0
    assert len(measured) == 1
    assert run("results", "--sources", "sources", "--to", "another text").exit_code == 0
    assert len(measured) == 5


def test_a_run_that_is_stopped_keeps_its_rows(work, monkeypatch):
    real, calls = folder_module.measure, []

    def stopped(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(folder_module, "measure", stopped)
    assert run("results", "--sources", "sources").exit_code != 0
    assert len(read_rows(Path("report/rows.jsonl"))) == 2
    assert run("results", "--sources", "sources").exit_code == 0
    assert len(calls) == 3 + 2


def test_rows_of_strangers_are_checked(tmp_path):
    good = Row(values={"shift": 1.0}, name="a.png", source="a.png", key="0" * 64)
    path = tmp_path / "rows.jsonl"
    path.write_text(
        '[]\n{"type": "Row", "values": {"rm -rf": 1}, "name": "b", "source": "b", "key": "1"}\nnull\n'
    )
    append_row(path, good)
    assert list(read_rows(path).values()) == [good]


def test_the_report_of_other_results_is_not_overwritten(work):
    assert run("results", "--sources", "sources").exit_code == 0
    before = Path("report/report.json").read_bytes()
    fill("more", scenes(WINTER, 4))
    result = run("more", "--sources", "sources")
    assert result.exit_code == 2 and "holds the report of results" in result.stderr
    assert Path("report/report.json").read_bytes() == before


# --- the report


def test_the_page_stands_alone_and_runs_nothing(work):
    name = '<img src=x onerror=alert(1)>&".png'
    Path("results/scene0.png").rename(Path("results", name))
    Path("sources/scene0.png").rename(Path("sources", name))
    Path("results/scene1.png").write_bytes(b"")
    to = "</style><script>alert(1)</script>"
    run("results", "--sources", "sources", "--to", to)
    page = Page("report/report.html")
    assert "script" not in page.tags and "link" not in page.tags
    assert name in page.text and to in page.text
    names = dict(page.attributes)
    assert names["content"] and ("http-equiv", "Content-Security-Policy") in page.attributes
    assert any(value and value.startswith("default-src 'none'") for _, value in page.attributes)
    assert not [key for key, _ in page.attributes if key.startswith("on")]
    addresses = [value for key, value in page.attributes if key in ("src", "href")]
    assert len(addresses) == 2 * 3 and all(address.startswith("data:image/") for address in addresses)


def test_the_table_is_read_by_spreadsheets_and_runs_nothing_there(work):
    for folder in ("sources", "results"):
        Path(folder, "scene0.png").rename(Path(folder, "=1+1.png"))
    assert run("results", "--sources", "sources", "--to", TO).exit_code == 0
    with Path("report/report.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["result"] for row in rows] == ["'=1+1.png", "scene1.png", "scene2.png", "scene3.png"]
    assert float(rows[1]["edge_f1"]) == figures("scene1.png")["edge_f1"]
    assert rows[1]["to"] == TO


def row(name, **values):
    return Row(values=values, name=name, source=name, key=name)


def test_the_worst_comes_first():
    rows = (
        row("good", edge_f1=0.9, structure=0.01, shift=0.1),
        row("copy", edge_f1=1.0, structure=0.0, shift=0.0),
        row("moved", edge_f1=0.8, structure=0.02, shift=4.0),
        row("lost", edge_f1=0.1, structure=0.20),
    )
    found = Report("results", "sources", rows, {}).worst_first
    assert [each.name for each in found] == ["lost", "moved", "good", "copy"]


def test_summaries():
    rate = summarize("in_place", [1.0, 1.0, 1.0, 0.0])
    assert rate.mean == 0.75 and 0.25 < rate.interval[0] < 0.4 and 0.9 < rate.interval[1] < 1
    mean = summarize("shift", [0.0, 0.0, 3.0])
    assert mean.interval[0] == 0 and mean.interval[1] > 2
    assert summarize("structure", [1.0]).interval is None


def test_a_disk_that_is_full_leaves_the_earlier_report(work, monkeypatch):
    assert run("results", "--sources", "sources").exit_code == 0
    before = Path("report/report.html").read_bytes()

    def full(path, **_):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(report_module, "atomic_path", full)
    result = run("results", "--sources", "sources")
    assert result.exit_code == 2 and "No space left on device" in result.stderr
    assert Path("report/report.html").read_bytes() == before


def test_every_figure_has_words():
    witnesses = pocket_witnesses()
    source, result = scenes(SUMMER, 1, first=1), scenes(WINTER, 1, first=1)
    style = torch.ones(1, witnesses.vit.model.embed_dim)
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., :20] = 1
    values = measure(result, source, Wanted(TO, FROM, style, mask, 1), witnesses).values
    assert {key.partition(".")[0] for key in values} | {"lpips"} == FIGURES.keys()
