"""From a benchmark's prompts to its scores, by the commands."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from test_compositional import (
    BENCH,
    CATS,
    LEFT,
    ROWS,
    boxes,
    no_colours,
    write_metadata,
    write_questions,
)

import answer_questions
import detect_objects
import generate_images
import lay_out_benchmark
import score_benchmark
import write_benchmark_prompts
from synthgap.compositional import dpg, dpg_questions, geneval
from synthgap.compositional.geneval_rules import Found
from synthgap.compositional.images import folder_beside, prompt_rows
from synthgap.compositional.resuming import LineFile
from synthgap.data.images import decode
from synthgap.data.shards import Sample, ShardWriter
from synthgap.errors import UserError
from synthgap.metrics.measures import read_measures


def call(command, *words):
    command.main(command.options().parse_args([str(word) for word in words]))


def make_images(prompts, folder, format="png", skip=()):
    """Draw what `generate_images` would make: two shards, each image of one colour."""
    tars = []
    for shard in range(2):
        rows = generate_images.read_prompts(prompts, shard, 2)
        tars.append(folder / f"{shard:05d}.tar")
        with ShardWriter(tars[-1], format) as writer:
            for row in rows:
                sample = Sample(**row | {"details": json.loads(row["details"])})
                if row["key"] in skip:
                    writer.add_failed(sample, "black")
                    continue
                colour = (sample.details["prompt_number"] * 40, sample.details["image"] * 60, 9)
                writer.add(sample, np.full((16, 16, 3), colour, np.uint8))
    return tars


def test_prompts_are_what_generate_images_reads(tmp_path):
    official, prompts = write_metadata(tmp_path, BENCH, CATS), tmp_path / "prompts.parquet"
    words = ["--benchmark", "geneval", "--official", official, "--source", "flow-geneval"]
    words += ["--seed", 0, "--prompts", prompts]
    with pytest.raises(UserError, match="not the official set: 2 prompts instead of GenEval's 553"):
        call(write_benchmark_prompts, *words)
    call(write_benchmark_prompts, *words, "--few")
    rows = pq.read_table(prompts).to_pylist()
    assert [row["key"] for row in rows[:5]] == [*(f"00000-000{i}" for i in range(4)), "00001-0000"]
    assert [row["prompt"] for row in rows] == ["a bench"] * 4 + ["two cats"] * 4
    assert len({row["seed"] for row in rows}) == 8
    (tmp_path / "longer.txt").write_text("a long bench\ntwo long cats\n")
    call(write_benchmark_prompts, *words, "--few", "--rewritten", tmp_path / "longer.txt")
    longer = pq.read_table(prompts).to_pylist()
    assert [row["prompt"] for row in longer[3:5]] == ["a long bench", "two long cats"]
    assert [row["seed"] for row in longer] == [row["seed"] for row in rows]
    with pytest.raises(UserError, match="1 rewritten prompts for 2"):
        prompt_rows("geneval", [("a", "b")] * 2, images=1, source="", seed=0, rewritten=["c"])


@pytest.mark.parametrize("format", ["png", "webp"])
def test_geneval_from_prompts_to_scores(tmp_path, format):
    official = write_metadata(tmp_path, BENCH, CATS, LEFT)
    prompts, folder = tmp_path / "prompts.parquet", tmp_path / "layout"
    which = ["--benchmark", "geneval", "--official", official]
    call(
        write_benchmark_prompts, *which, "--source", "s", "--seed", 0, "--few", "--prompts", prompts
    )
    tars = make_images(prompts, tmp_path, format)
    call(lay_out_benchmark, *which, "--images", *tars, "--folder", folder)
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert names == [
        name
        for i in range(3)
        for name in [f"0000{i}/metadata.jsonl", *(f"0000{i}/samples/000{j}.png" for j in range(4))]
    ]
    assert json.loads((folder / "00001/metadata.jsonl").read_text()) == CATS
    pixels = decode((folder / "00002/samples/0003.png").read_bytes())
    assert pixels.shape == (16, 16, 3)
    assert (pixels == (80, 180, 9)).all()
    assert not list(tmp_path.glob(".layout*"))

    results = tmp_path / "results.jsonl"
    lines = [
        {"filename": f"{i}/{j}.png", "correct": j < i, "metadata": json.dumps(line)}
        for i, line in enumerate([BENCH, CATS, LEFT])
        for j in range(4)
    ]
    results.write_text("".join(json.dumps(line) + "\n" for line in lines))
    words = ["--benchmark", "geneval", "--prompts", official, "--results", results]
    words += ["--about", '{"study": "text-to-image"}', "--output", tmp_path / "metrics.json"]
    with pytest.raises(UserError, match="3 prompts instead of GenEval's 553"):
        call(score_benchmark, *words)
    call(score_benchmark, *words, "--few")
    measures, about = read_measures(tmp_path / "metrics.json")
    assert about == {"study": "text-to-image"}
    assert measures[0].metric == "geneval_overall_n3_images12"
    assert measures[0].value == pytest.approx((0 + 1 / 4 + 2 / 4) / 3)
    for damaged, message in [
        (lines[:1] * 2, "line 2: 0/0.png is there twice"),
        ([lines[0] | {"metadata": "{}"}], "line 1: 0/0.png is of none of the 3 prompts"),
        ([lines[0] | {"correct": 1}], "line 1: `correct` must be true or false"),
    ]:
        results.write_text("".join(json.dumps(line) + "\n" for line in damaged))
        with pytest.raises(UserError, match=message):
            call(score_benchmark, *words, "--few")


def test_dpg_bench_from_prompts_to_scores(tmp_path, monkeypatch):
    official = write_questions(tmp_path)
    prompts, folder = tmp_path / "prompts.parquet", tmp_path / "layout"
    which = ["--benchmark", "dpg-bench", "--official", official]
    call(
        write_benchmark_prompts, *which, "--source", "s", "--seed", 0, "--few", "--prompts", prompts
    )
    tars = make_images(prompts, tmp_path)
    call(lay_out_benchmark, *which, "--images", *tars, "--folder", folder)
    assert sorted(path.name for path in folder.iterdir()) == ["a1.png", "b2.png"]
    grid = np.asarray(Image.open(folder / "b2.png"))
    assert grid.shape == (32, 32, 3)
    # Line by line: the second image is right of the first.
    assert [grid[y, x, 1] for y, x in [(0, 0), (0, 31), (31, 0), (31, 31)]] == [0, 60, 120, 180]

    asked = []

    def ask(given):  # yes to all questions but for the third image
        asked.append(given["question"])
        assert given["image"].size == (16, 16)
        return {"text": "no" if given["image"].getpixel((0, 0))[1] == 120 else "yes"}

    monkeypatch.setattr(answer_questions, "asking", lambda args: ask)
    words = ["--folder", folder, "--questions", official, "--answers", tmp_path / "answers.jsonl"]
    call(answer_questions, *words)
    assert len(asked) == 4 * 5
    call(
        *(score_benchmark, "--benchmark", "dpg-bench", "--prompts", official, "--few"),
        *("--results", tmp_path / "answers.jsonl", "--output", tmp_path / "metrics.json"),
    )
    measures, _ = read_measures(tmp_path / "metrics.json")
    assert (measures[0].metric, measures[0].value) == ("dpg_bench_n2_images8", 0.75)
    assert measures[1].value == 1  # of the last image


def test_missing_images_are_refused_or_told(tmp_path, monkeypatch):
    official = write_questions(tmp_path)
    prompts, folder = tmp_path / "prompts.parquet", tmp_path / "layout"
    which = ["--benchmark", "dpg-bench", "--official", official]
    call(
        write_benchmark_prompts, *which, "--source", "s", "--seed", 0, "--few", "--prompts", prompts
    )
    tars = make_images(prompts, tmp_path, skip=["00000-0001"])
    words = [*which, "--images", *tars, "--folder", folder]
    with pytest.raises(
        UserError, match=r"1 of 2 prompts have not 4 images \(the first is number 0"
    ):
        call(lay_out_benchmark, *words)
    assert not folder.exists()
    call(lay_out_benchmark, *words, "--few")
    assert json.loads((folder / dpg.COUNTS).read_text()) == {"a1": 3, "b2": 4}
    assert np.asarray(Image.open(folder / "a1.png"))[0, 31, 1] == 120  # the next takes its cell
    monkeypatch.setattr(answer_questions, "asking", lambda args: lambda given: {"text": "yes"})
    answers = tmp_path / "answers.jsonl"
    call(answer_questions, "--folder", folder, "--questions", official, "--answers", answers)
    assert len(answers.read_text().splitlines()) == 3 * 4 + 4
    other = write_metadata(tmp_path, BENCH)
    with pytest.raises(UserError, match="00000-0000 is no image for geneval"):
        geneval.lay_out(tars, geneval.read_prompts(other), tmp_path / "no", True)
    changed = write_questions(tmp_path, [row.replace("a long", "a short") for row in ROWS])
    with pytest.raises(UserError, match="made for another set of prompts: 'a long text'"):
        dpg.lay_out(tars, dpg_questions.read_items(changed), tmp_path / "no", True)


def test_detection_by_command(tmp_path, monkeypatch):
    """The command's loop with a made-up detector; the real one lives in another environment."""
    folder = tmp_path / "layout"
    for i, line in enumerate([BENCH, LEFT]):
        (folder / f"0000{i}/samples").mkdir(parents=True)
        (folder / f"0000{i}/metadata.jsonl").write_text(json.dumps(line))
        for j in range(2):
            Image.new("RGB", (8, 8)).save(folder / f"0000{i}/samples/000{j}.png")
    (tmp_path / "weights.pth").touch()
    looked = []

    class Detector:
        def __init__(self, args):
            pass

        def check_names(self, metadata, folder):
            pass

        def find(self, path):
            looked.append(path)
            if path.name == "0001.png" and path.parts[-3] == "00001" and len(looked) == 4:
                raise KeyboardInterrupt
            return boxes(
                ("bench", 0, 0, 9, 9, 0.9), ("dog", 50, 0, 60, 9, 0.9), ("cat", 0, 0, 9, 9, 0.9)
            ), None

    class Colours:
        def __init__(self, args):
            pass

        def of(self, path):
            return no_colours

    monkeypatch.setattr(detect_objects, "Detector", Detector)
    monkeypatch.setattr(detect_objects, "Colours", Colours)
    results = tmp_path / "results.jsonl"
    words = ["--folder", folder, "--checkpoint", tmp_path / "weights.pth", "--results", results]
    with pytest.raises(KeyboardInterrupt):
        call(detect_objects, *words)
    assert not results.exists()
    call(detect_objects, *words)
    assert len(looked) == 4 + 2  # the finished prompt is not looked at again
    lines = [json.loads(line) for line in results.read_text().splitlines()]
    assert [line["correct"] for line in lines] == [True] * 4
    prompts = geneval.read_prompts(write_metadata(tmp_path, BENCH, LEFT))
    assert geneval.read_results(results, prompts) == [[True, True], [True, True]]
    # An object is cut out along its mask, on grey.
    mask = np.zeros((8, 8), bool)
    mask[:, :2] = True
    cut = detect_objects.crop(Image.new("RGB", (8, 8), "red"), Found((0.4, 0, 4.4, 2), 0.9, mask))
    assert np.asarray(cut)[0].tolist() == [[255, 0, 0]] * 2 + [[153, 153, 153]] * 2


def test_lines_go_on_only_from_the_same_settings(tmp_path):
    path = tmp_path / "results.jsonl"
    with LineFile(path, {"a": 1}) as lines:
        lines.add("x", [{"n": 1}, {"n": 2}])
        lines.add("y", [{"n": 3}])
    part = tmp_path / ".results.jsonl.part"
    part.write_bytes(part.read_bytes()[:-4])  # killed within the second
    with LineFile(path, {"a": 1}) as lines:
        assert lines.done == {"x"}
        lines.add("y", [{"n": 4}])
        lines.finish(["y", "x"])
    assert path.read_text() == '{"n": 4}\n{"n": 1}\n{"n": 2}\n'
    assert not part.exists()
    with LineFile(path, {"a": 1}) as lines:
        lines.add("x", [])
    with LineFile(path, {"a": 2}) as lines:
        assert lines.done == set()


def test_damaged_lines_are_made_again(tmp_path):
    path = tmp_path / "results.jsonl"
    with LineFile(path, {"a": 1}) as lines:
        lines.add("x", [{"n": 1}])
        lines.add("y", [{"n": 3}])
    part = tmp_path / ".results.jsonl.part"
    part.write_bytes(part.read_bytes().replace(b'"n": 1', b'"n": 7'))
    with LineFile(path, {"a": 1}) as lines:
        assert lines.done == {"y"}
        with pytest.raises(SystemExit, match=r"results.jsonl.part is damaged: x is gone; run"):
            lines.finish(["x", "y"])
    with LineFile(path, {"a": 1}) as lines:
        lines.add("x", [{"n": 1}])
        lines.finish(["x", "y"])
    assert path.read_text() == '{"n": 1}\n{"n": 3}\n'


def test_a_layout_goes_on_only_with_the_same_images(tmp_path):
    def fill(stamp, name="", killed=False):
        """Return what an earlier attempt left."""
        with folder_beside(tmp_path / "layout", stamp) as part:
            left = [path.name for path in part.iterdir()]
            if name:
                (part / name).touch()
            if killed:
                raise KeyboardInterrupt
        return left

    with pytest.raises(KeyboardInterrupt):
        fill("one", "a", killed=True)
    assert not (tmp_path / "layout").exists()
    assert fill("one") == ["a"]
    with pytest.raises(KeyboardInterrupt):
        fill("one", "b", killed=True)
    assert fill("two") == []
    assert [path.name for path in tmp_path.iterdir()] == ["layout"]
