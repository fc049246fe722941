"""Which images the page shows, and what it tells of each."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import choose_examples
from synthgap.data.captions import CAPTION_SCHEMA
from synthgap.data.shards import Manifest, Sample, ShardWriter, gather
from synthgap.errors import UserError
from synthgap.report import examples
from synthgap.report.examples import SCHEMA, SIDE, Examples, thumbnail
from synthgap.report.gallery import gallery

CLASSES = ["owl", "cat", "ant"]
FACTS = {
    "command": "generate_images",
    "options": {"generator": {"steps": 12, "model": None}, "tar": "here", "seed": 3},
    "versions": {"torch": "2.0"},
    "device": "cpu",
}


def made(folder, source="flow", images=12, view="rgb", side=16, facts=FACTS, copies=False):
    """A shard and its manifest: image number n is all of the grey n, its class n mod 3."""
    tar = folder / "images" / source / "test" / view / "00000.tar"
    tar.parent.mkdir(parents=True)
    with ShardWriter(tar, "png") as writer:
        writer.facts = facts
        for number in range(images):
            name = CLASSES[number % 3]
            key = f"k{number}-0" if copies else f"k{number}"
            sample = Sample(key, number % 3, name, f"{name}, {number}", 100 + number, {"batch": 7})
            writer.add(sample, np.full((side, side, 3), number, np.uint8))
    path = tar.parent / "manifest.parquet"
    gather([tar], path)
    return Manifest(path)


def greys(picked):
    """The number of each image, which it shows."""
    return [int(one.manifest.images([one.row])[0, 0, 0, 0]) for one in picked]


def items(real=(), generated=()):
    rows = [{"key": f"k{n}", "real": True, "covered": one} for n, one in enumerate(real)]
    rows += [{"key": f"k{n}", "real": False, "balls": one} for n, one in enumerate(generated)]
    schema = [
        ("key", pa.string()),
        ("real", pa.bool_()),
        ("covered", pa.bool_()),
        ("balls", pa.int64()),
    ]
    return pa.Table.from_pylist(rows, pa.schema(schema))


def test_lines_show_the_same_classes(tmp_path):
    real = made(tmp_path, "real", images=60)
    flow = made(tmp_path, "flow", images=12)
    picked = examples.same_classes({"real": real, "flow": flow})
    first = [one for one in picked if one.line == "real"]
    assert [one.note for one in first] == [*["owl"] * 6, *["cat"] * 6, *["ant"] * 6]
    assert greys(first)[:6] == [0, 3, 6, 9, 12, 15]
    assert greys(one for one in picked if one.line == "flow") == [
        0,
        3,
        6,
        9,
        1,
        4,
        7,
        10,
        2,
        5,
        8,
        11,
    ]


def test_many_lines_have_fewer_images_each():
    assert examples.columns(1) == examples.columns(12) == 20
    assert examples.columns(24) == 10
    assert examples.columns(1000) == 6


def test_views_show_the_same_image_and_of_crops_the_first(tmp_path):
    views = {
        "rgb": made(tmp_path),
        "low": made(tmp_path, view="low"),
        "crops": made(tmp_path, view="crops", copies=True),
    }
    picked = examples.in_views({"flow": views})
    assert [one.line for one in picked] == [*["flow, owl"] * 3, *["flow, ant"] * 3]
    assert [one.note for one in picked] == ["rgb", "low", "crops"] * 2
    assert greys(picked) == [0, 0, 0, 2, 2, 2]


def test_the_most_and_the_least_typical_come_first(tmp_path):
    manifest = made(tmp_path, images=5)
    picked = examples.typical("flow", manifest, items([True], [2, 9, 0, 5, 1]), most=2)
    assert greys(picked) == [1, 3, 2, 4]
    assert [one.note for one in picked] == ["in 9 balls", "in 5 balls", "in 0 balls", "in 1 balls"]
    assert [one.line for one in picked[1:3]] == ["flow, most typical", "flow, least typical"]
    assert examples.typical("flow", manifest, items(), most=2) == []


def test_uncovered_images_are_spread_and_counted(tmp_path):
    real = made(tmp_path, "real", images=9)
    picked = examples.uncovered("flow", real, items([n < 2 for n in range(9)], [1]), most=3)
    assert greys(picked) == [2, 5, 8]
    assert {one.line for one in picked} == {"not covered by flow (7 of 9)"}


@pytest.mark.parametrize(("metric", "expected"), [("ssim", [1, 5, 0, 4]), ("lpips", [2, 3, 0, 4])])
def test_the_nearest_come_first_each_with_its_training_image(tmp_path, metric, expected):
    real, flow = made(tmp_path, "real"), made(tmp_path, "flow")
    table = pa.table(
        {
            "key": ["k0", "k1", "k2"],
            f"nearest_{metric}_key": ["k4", "k5", "k3"],
            metric: [0.5, 0.9, 0.2],
        }
    )
    picked = examples.nearest("flow", real, flow, table, metric, most=2)
    assert greys(picked) == expected
    assert [one.manifest.path for one in picked] == [flow.path, real.path] * 2


def test_mistakes_are_spread_over_classes_and_the_surest_first(tmp_path):
    manifest = made(tmp_path)
    answers = pa.table(
        {
            "key": ["k0", "k3", "k6", "k1", "k2"],
            "class_index": [0, 0, 0, 1, 2],
            "predicted": [1, 2, 1, 0, 2],
            "correct": [False, False, False, False, True],
            "probability_of_class": [0.4, 0.1, 0.2, 0.3, 0.9],
        }
    )
    picked = examples.mistaken("learnt from flow", manifest, answers, CLASSES, most=3)
    assert greys(picked) == [3, 1, 6]
    assert [one.note for one in picked] == ["taken for ant", "taken for owl", "taken for cat"]


def test_an_image_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match="has no image nobody"):
        examples.row_of(made(tmp_path), "nobody")
    with pytest.raises(UserError, match="no class in common"):
        examples.in_common([np.array([0, 1]), np.array([2])])


def test_thumbnails_of_large_images_are_smaller_and_of_small_ones_exact():
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    content = thumbnail(small)
    assert content.startswith(b"\x89PNG")
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(content))), small)
    large = thumbnail(rng.integers(0, 256, (300, 600, 3), dtype=np.uint8))
    assert large[8:12] == b"WEBP"
    assert Image.open(io.BytesIO(large)).size == (SIDE, SIDE // 2)


def chosen(tmp_path, sheets, *more):
    path = tmp_path / "examples.parquet"
    words = ["--sheets", json.dumps(sheets), "--examples", str(path), *map(str, more)]
    choose_examples.main(choose_examples.options().parse_args(words))
    return Examples.of(pq.read_table(path))


def test_each_image_comes_with_what_made_it(tmp_path):
    real = made(tmp_path, "real", facts={**FACTS, "command": "prepare_real"})
    flow = made(tmp_path, "flow", side=200)
    captions = tmp_path / "captions.parquet"
    known = {"key": "k0", "caption": "an owl in snow", "status": "ok"}
    pq.write_table(pa.Table.from_pylist([known], CAPTION_SCHEMA), captions)
    sheets = {"sources": {"real": str(real.path), "flow": str(flow.path)}}
    found = chosen(tmp_path, sheets, "--captions", captions)
    assert set(found.rows[0]) == set(SCHEMA.names)
    first = {row["line"]: row for row in reversed(found.rows)}
    assert first["real"]["caption"] == "an owl in snow"
    assert first["flow"]["caption"] == "", "a real image may have the same key"
    assert (first["flow"]["width"], first["real"]["width"]) == (200, 16)

    shown = gallery(found, " --configfile mine.yaml")
    told = json.loads(str(shown.told))
    (sheet,) = shown.sheets
    assert [line.title for line in sheet.lines] == ["real", "flow"]
    by_line = {line.title: told["images"][line.images[0].number] for line in sheet.lines}
    facts = dict(by_line["flow"]["facts"])
    tar = str(flow.path.parent / "00000.tar")
    assert facts["Prompt"] == "owl, 0"
    assert (facts["Seed"], facts["Batch"], facts["Size"]) == ("100", "7", "200 × 200 pixels")
    assert by_line["flow"]["again"] == (
        f"python workflow/scripts/regenerate_image.py --tar {tar} --key k0 --image again.png"
    )
    assert by_line["real"]["again"] == (
        f"snakemake --force {real.path.parent / '00000.tar'} --configfile mine.yaml"
    )
    settings = dict(told["made"][tar])
    assert settings["Generator: steps"] == "12"
    assert "Generator: model" not in settings
    assert settings["Versions"] == "torch 2.0"


def test_what_images_tell_cannot_end_the_script(tmp_path):
    manifest = made(tmp_path)
    rows = examples.describe({"sources": [examples.Picked("a", manifest, 0)]}, {}).rows
    rows[0]["prompt"] = "</script><b>&"
    told = gallery(Examples(rows, {rows[0]["tar"]: FACTS})).told
    assert "<" not in told
    assert "&" not in told
    assert json.loads(str(told))["images"][0]["facts"][2] == ["Prompt", "</script><b>&"]


def test_a_comparisons_images_are_found_in_their_own_shards(tmp_path):
    flow = made(tmp_path, "flow")
    table = flow.table.set_column(
        0, "key", pa.array([f"1-{key}" for key in flow.table["key"].to_pylist()])
    )
    table = table.set_column(
        table.schema.get_field_index("shard"),
        "shard",
        pa.array(["../../../flow/test/rgb/00000.tar"] * len(table)),
    )
    path = tmp_path / "images" / "real+flow" / "test" / "rgb" / "manifest.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(table, path)
    found = examples.describe({"taken": [examples.Picked("a", Manifest(path), 4)]}, {})
    assert found.rows[0]["key"] == "k4"
    assert found.rows[0]["tar"].endswith("images/flow/test/rgb/00000.tar")
