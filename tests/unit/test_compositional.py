"""GenEval and DPG-Bench: files, layouts, rules and scores, by hand-computed cases."""

import ast
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pydantic import ValidationError

import answer_questions
import detect_objects
import generate_images
import lay_out_benchmark
import score_benchmark
import write_benchmark_prompts
from synthgap.compositional import dpg, dpg_questions, geneval
from synthgap.compositional.geneval_rules import Found, Rules, judge, overlap, relations, select
from synthgap.compositional.images import folder_beside, prompt_rows
from synthgap.compositional.resuming import LineFile
from synthgap.compositional.scoring import stratified_mean
from synthgap.config.compositional import Compositional
from synthgap.data.images import decode
from synthgap.data.shards import Sample, ShardWriter
from synthgap.errors import UserError
from synthgap.metrics.measures import read_measures

BENCH = {"tag": "single_object", "include": [{"class": "bench", "count": 1}], "prompt": "a bench"}
CATS = {
    "tag": "counting",
    "include": [{"class": "cat", "count": 2}],
    "exclude": [{"class": "cat", "count": 3}],
    "prompt": "two cats",
}
LEFT = {
    "tag": "position",
    "include": [
        {"class": "dog", "count": 1},
        {"class": "cat", "count": 1, "position": ["left of", 0]},
    ],
    "prompt": "a cat left of a dog",
}
BOUND = {
    "tag": "color_attr",
    "include": [
        {"class": "cup", "count": 1, "color": "red"},
        {"class": "car", "count": 1, "color": "blue"},
    ],
    "prompt": "a red cup and a blue car",
}
HEADER = (
    "item_id,text,keywords,proposition_id,dependency,category_broad,category_detailed,tuple,"
    "question_natural_language"
)
# A chain (3 needs 2 needs 1), a question with two parents, and one in the category `global -`.
ROWS = [
    "a1,a long text,,1,0,entity,whole,entity - whole (cat),A cat?",
    'a1,a long text,,2,1,attribute,color,"attribute - color (cat, red)",A red cat?',
    'a1,a long text,,3,2,relation,spatial,"relation - spatial (cat, mat)",On a mat?',
    'a1,a long text,,4,"1, 3",entity,whole,entity - whole (mat),A mat?',
    "b2,other text,,1,0,global,,global - (photo),A photo?",
]


def boxes(*found):
    return {
        name: np.asarray([box for other, *box in found if other == name], dtype=np.float64)
        for name in {name for name, *_ in found}
    }


def no_colours(name, objects):
    raise AssertionError("not asked for")


def right(metadata, *found, colours=no_colours):
    return judge(select(boxes(*found), None, metadata["tag"]), metadata, colours)[0]


# Rules.


def test_objects_must_be_confident_enough_and_more_so_for_counting():
    assert right(BENCH, ("bench", 0, 0, 9, 9, 0.31))
    assert not right(BENCH, ("bench", 0, 0, 9, 9, 0.3))
    assert not right(BENCH, ("cat", 0, 0, 9, 9, 0.99))
    sure, unsure = ("cat", 0, 0, 9, 9, 0.95), ("cat", 0, 0, 9, 9, 0.9)
    assert right(CATS, sure, sure, unsure)
    assert not right(CATS, sure, unsure)
    assert not right(CATS, sure, sure, sure)


def test_most_confident_objects_come_first_and_few_of_them_are_kept():
    many = [("cat", 0, 0, 9, 9, 0.5 + i / 100) for i in range(20)]
    kept = select(boxes(*many), None, "colors")["cat"]
    assert [found.score for found in kept] == pytest.approx([0.69 - i / 100 for i in range(16)])
    one = select(boxes(*many), None, "colors", Rules(max_overlap=0.9))["cat"]
    assert len(one) == 1
    masks = {"cat": [np.full((2, 2), i) for i in range(20)]}
    assert select(boxes(*many), masks, "colors")["cat"][0].mask[0, 0] == 19


def test_overlap_counts_the_last_row_and_column():
    assert overlap([0, 0, 1, 1], [0, 0, 1, 1]) == 1
    # 2x2 and 2x2 pixels share one: 1 / 7.
    assert overlap([0, 0, 1, 1], [1, 1, 2, 2]) == pytest.approx(1 / 7)
    assert overlap([0, 0, 1, 1], [5, 5, 6, 6]) == 0


def test_a_position_wants_more_than_a_tenth_of_both_sizes():
    target = [100, 0, 120, 20]
    assert relations([0, 0, 20, 20], target) == {"left of"}
    assert relations([200, 0, 220, 20], target) == {"right of"}
    assert relations([100, 50, 120, 70], target) == {"below"}
    # Offset 30 on both axes, 26 of it left: 26 / 42.4 = 0.61 on each.
    assert relations([70, -30, 90, -10], target) == {"left of", "above"}
    # Offset 4 is a tenth of 20 + 20: nothing is left.
    assert relations([96, 0, 116, 20], target) == set()
    # Offset 8 on one axis leaves 4 of 8, exactly a half, which is not more than it.
    assert relations([92, 0, 112, 20], target) == set()
    assert relations([91, 0, 111, 20], target) == {"left of"}
    assert relations(target, target) == set()


def test_position_is_judged_between_the_most_confident_objects():
    dog, cat = ("dog", 100, 0, 120, 20, 0.9), ("cat", 0, 0, 20, 20, 0.8)
    assert right(LEFT, dog, cat)
    # A cat on the other side that the detector is surer of stands in the way.
    assert not right(LEFT, dog, cat, ("cat", 200, 0, 220, 20, 0.85))
    assert right(LEFT, dog, cat, ("cat", 200, 0, 220, 20, 0.7))
    correct, reason = judge(select(boxes(cat), None, "position"), LEFT, no_colours)
    assert not correct
    assert reason == "dog: 0 found, 1 wanted\ncat: nothing to be left of"


def test_colours_belong_to_their_objects():
    found = [("cup", 0, 0, 9, 9, 0.9), ("cup", 0, 0, 9, 9, 0.8), ("car", 0, 0, 9, 9, 0.7)]
    seen = {"cup": {0.9: "red", 0.8: "green"}, "car": {0.7: "blue"}}

    def colours(name, objects):
        return [seen[name][one.score] for one in objects]

    assert right(BOUND, *found, colours=colours)
    seen["cup"] = {0.9: "green", 0.8: "red"}  # only the surest cup is looked at
    assert not right(BOUND, *found, colours=colours)
    seen["cup"], seen["car"] = {0.9: "blue", 0.8: "red"}, {0.7: "red"}  # swapped
    correct, reason = judge(select(boxes(*found), None, "color_attr"), BOUND, colours)
    assert not correct
    assert reason == "cup: blue instead of red\ncar: red instead of blue"


def test_rules_and_questions_need_nothing_but_numpy():
    """They are read in environments without this project's dependencies, and of Python 3.9."""
    names = ["geneval_rules", "dpg_questions", "resuming"]
    code = "import sys\n" + "".join(f"import synthgap.compositional.{n}\n" for n in names)
    code += "found = {m.split('.')[0] for m in sys.modules} - set(sys.stdlib_module_names)\n"
    code += "print(sorted(n for n in found if not n.startswith('_')))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    known = {"numpy", "synthgap", "sitecustomize", "cython_runtime", "pyximport"}
    assert set(json.loads(told.stdout.replace("'", '"'))) <= known
    for path in [
        *(Path(geneval.__file__).with_name(f"{name}.py") for name in ["__init__", *names]),
        Path(detect_objects.__file__),
        Path(answer_questions.__file__),
    ]:
        ast.parse(path.read_text(), feature_version=(3, 9))


# Official files.


def write_metadata(folder, *lines):
    path = folder / "evaluation_metadata.jsonl"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return path


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: not JSON"),
        ("[]", "line 2: not a JSON object"),
        (json.dumps(BENCH | {"tag": "colour"}), "no task `colour`; did you mean `colors`"),
        (json.dumps(BENCH | {"prompt": " "}), "`prompt` must be a text"),
        (json.dumps(BENCH | {"include": []}), "`include` must list objects"),
        (json.dumps(BENCH | {"include": [{"class": "a", "count": True}]}), "`count` of a"),
        (json.dumps(BENCH | {"exclude": [{"count": 1}]}), "an object needs a `class`"),
        (json.dumps(LEFT).replace('"left of", 0', '"left of", 1'), "`position` of cat"),
        (json.dumps(LEFT).replace("left of", "near"), "`position` of cat"),
        (json.dumps(BOUND).replace('"red"', '"mauve"'), "`color` of cup must be one of red"),
        (json.dumps(CATS), "line 2: the same as an earlier line"),
    ],
)
def test_malformed_geneval_prompts_are_told_by_line(tmp_path, line, message):
    path = tmp_path / "evaluation_metadata.jsonl"
    path.write_text(json.dumps(CATS) + "\n" + line + "\n")
    with pytest.raises(UserError, match=f"{path}, line 2") as told:
        geneval.read_prompts(path)
    assert message in str(told.value)


def official_geneval():
    return [
        geneval.Prompt(task, f"{task} {i}", BENCH | {"tag": task, "prompt": f"{task} {i}"})
        for task, n in geneval.TASKS.items()
        for i in range(n)
    ]


def test_another_set_than_the_official_one_is_noticed():
    prompts = official_geneval()
    assert len(prompts) == 553
    assert geneval.unofficial(prompts) is None
    told = geneval.unofficial(prompts[1:])
    assert told == "552 prompts instead of GenEval's 553 (79 of single_object instead of 80)"
    items = [dpg_questions.Item(str(i), "text") for i in range(1065)]
    assert dpg_questions.unofficial(items) is None
    assert dpg_questions.unofficial(items[1:]) == "1064 prompts instead of DPG-Bench's 1065"


def write_questions(folder, rows=ROWS, header=HEADER):
    path = folder / "dpg_bench.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_questions_are_read_with_all_their_parents(tmp_path):
    first, second = dpg_questions.read_items(write_questions(tmp_path))
    assert (first.item_id, first.prompt) == ("a1", "a long text")
    assert {n: q.parents for n, q in first.questions.items()} == {
        1: (),
        2: (1,),
        3: (2,),
        4: (1, 3),
    }
    assert first.questions[2].category == "attribute - color"
    assert second.questions[1].text == "A photo?"
    (tmp_path / "prompts").mkdir()
    for name in ("a1", "b2"):
        (tmp_path / "prompts" / f"{name}.txt").write_text(f"of {name}\n")
    items = dpg_questions.read_items(tmp_path / "dpg_bench.csv", tmp_path / "prompts")
    assert [item.prompt for item in items] == ["of a1", "of b2"]
    (tmp_path / "prompts" / "b2.txt").unlink()
    with pytest.raises(UserError, match=r"line 6: the prompt of this item is not in .*b2\.txt"):
        dpg_questions.read_items(tmp_path / "dpg_bench.csv", tmp_path / "prompts")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("../x,text,,1,0,,,a - b (c),Is it?", "line 7: `../x` cannot be an item_id"),
        ("c3,text,,one,0,,,a - b (c),Is it?", "line 7: proposition_id `one`"),
        ("c3,text,,1,,,,a - b (c),Is it?", "line 7: proposition_id `1` and dependency ``"),
        ("c3,text,,1,0,,,a - b (c),", "line 7: a question needs a text"),
        ("c3,,,1,0,,,a - b (c),Is it?", "line 7: item c3 has no prompt"),
        ("a1,text,,9,0,,,a - b (c),Is it?", "line 7: item a1 goes on after another item"),
        ("c3,text,,1,5,,,a - b (c),Is it?", "question 1 of item c3 depends on 5, which it has not"),
        ("c3,text", "line 7"),
    ],
)
def test_malformed_questions_are_told_by_line(tmp_path, row, message):
    with pytest.raises(UserError) as told:
        dpg_questions.read_items(write_questions(tmp_path, [*ROWS, row]))
    assert message in str(told.value)


def test_a_file_without_the_columns_is_refused(tmp_path):
    header = HEADER.replace("dependency", "needs").replace("tuple", "triple")
    path = write_questions(tmp_path, header=header)
    with pytest.raises(UserError, match="no column dependency, tuple"):
        dpg_questions.read_items(path)


# Scores.


def test_geneval_overall_is_the_mean_over_tasks():
    """Of two tasks with 3 of 4 and 1 of 4 images right, and 2 and 1 prompts."""
    prompts = [
        geneval.Prompt("counting", "a", {"n": 1}),
        geneval.Prompt("counting", "b", {"n": 2}),
        geneval.Prompt("position", "c", {"n": 3}),
    ]
    images = [[True, True], [True, False], [False, True, False, False]]
    found = {m.metric: m for m in geneval.measures(prompts, images, few=True)}
    assert found["geneval_overall_n3_images8"].value == (3 / 4 + 1 / 4) / 2
    assert found["geneval_counting_n2_images4"].value == 3 / 4
    assert found["geneval_position_n1_images4"].value == 1 / 4
    assert math.isnan(found["geneval_position_n1_images4"].low)
    assert found["geneval_images_correct_n3_images8"].value == 4 / 8
    assert found["geneval_prompts_correct_n3_images8"].value == 1
    assert found["geneval_overall_n3_images8"].name == "geneval_overall"
    assert found["geneval_overall_n3_images8"].n == 3
    assert found["geneval_overall_n3_images8"].settings["images"] == 8
    rewritten = geneval.measures(prompts, images, few=True, rewritten=True)
    assert rewritten[0].metric == "geneval_overall_rewritten_n3_images8"


def test_only_the_whole_geneval_bears_its_plain_name():
    prompts = official_geneval()
    images = [[i % 3 == 0, True, False, i % 2 == 0] for i in range(len(prompts))]
    found = geneval.measures(prompts, images)
    assert [measure.metric for measure in found] == [
        "geneval_overall",
        *(f"geneval_{task}" for task in geneval.TASKS),
        "geneval_images_correct",
        "geneval_prompts_correct",
    ]
    assert [measure.n for measure in found] == [553, *geneval.TASKS.values(), 553, 553]
    assert all(m.low < m.value < m.high for m in found[:-1])
    assert found == geneval.measures(prompts, images)
    images[7] = [True]
    with pytest.raises(UserError, match="1 prompts have not 4 images; allow `few`"):
        geneval.measures(prompts, images)
    assert geneval.measures(prompts, images, few=True)[0].metric.endswith("_n553_images2209")
    with pytest.raises(UserError, match="552 prompts instead of GenEval's 553"):
        geneval.measures(prompts[1:], [[True] * 4] * 552)
    with pytest.raises(UserError, match="no images"):
        geneval.measures(prompts, [[]] * 553, few=True)


def test_the_bootstrap_keeps_the_images_of_a_prompt_together():
    """The interval is that of the prompts' means, wider than if images were independent."""
    random = np.random.default_rng(0)
    share = random.random(400) < 0.5
    stratum = np.stack([4.0 * share, np.full(400, 4.0)], axis=1)
    interval = stratified_mean([stratum])
    expected = 2 * 1.96 * math.sqrt(share.mean() * (1 - share.mean()) / 400)
    assert interval.high - interval.low == pytest.approx(expected, rel=0.08)
    two = stratified_mean([stratum[:200], stratum[200:]])
    assert two.high - two.low == pytest.approx(expected, rel=0.1)
    # Strata weigh the same, whatever their size: the small one decides the width.
    uneven = stratified_mean([stratum[:40], stratum[40:]])
    assert uneven.value == pytest.approx((share[:40].mean() + share[40:].mean()) / 2)
    spread = math.sqrt(share[:40].var() / 40 + share[40:].var() / 360) / 2
    assert uneven.high - uneven.low == pytest.approx(2 * 1.96 * spread, rel=0.1)


def test_all_right_is_no_certainty():
    low, high = stratified_mean([np.full((20, 2), 4.0)])[1:]
    assert low == pytest.approx(1 - 3.8415 / (20 + 3.8415), abs=1e-4)  # Wilson, of prompts
    assert high == 1
    assert stratified_mean([np.asarray([[0.0, 4.0]] * 20)])[:2] == (0, 0)
    assert np.isnan(stratified_mean([np.asarray([[1.0, 2.0]] * 20)])[1:]).all()
    with pytest.raises(UserError, match="needs values"):
        stratified_mean([np.zeros((3, 2))])


@pytest.fixture
def items(tmp_path):
    return dpg_questions.read_items(write_questions(tmp_path))


@pytest.mark.parametrize(
    ("answers", "score"),
    [
        ("yyyy", 1),
        ("nyyy", 0),  # and so all that hangs on it
        ("ynyy", 0.25),  # 3 falls with 2, and 4 with 3
        ("yyny", 0.5),
        ("yyyn", 0.75),
        ("nnnn", 0),
    ],
)
def test_a_failed_parent_fails_its_children(items, answers, score):
    given = {number: letter == "y" for number, letter in enumerate(answers, start=1)}
    assert dpg.score_image(items[0], given) == score


def test_a_parent_after_its_child_counts_with_its_bare_answer():
    def question(number, *parents):
        return dpg_questions.Question(number, "?", parents, "entity - whole")

    item = dpg_questions.Item("a", "t", {1: question(1, 2), 2: question(2, 3), 3: question(3)})
    # 1 looks at 2 before 2 falls with 3.
    assert dpg.score_image(item, {1: True, 2: True, 3: False}) == 1 / 3
    assert dpg.score_image(item, {1: True, 2: False, 3: True}) == 1 / 3


def test_dpg_bench_is_the_mean_over_prompts_and_categories_are_of_the_last_image(items):
    answers = {
        "a1": {0: dict.fromkeys(range(1, 5), True), 1: {1: False, 2: True, 3: True, 4: True}},
        "b2": {0: {1: True}, 1: {1: False}},
    }
    found = {m.name: m for m in dpg.measures(items, answers, few=True)}
    assert found["dpg_bench"].value == ((1 + 0) / 2 + (1 + 0) / 2) / 2
    assert found["dpg_bench"].metric == "dpg_bench_n2_images4"
    assert found["dpg_bench"].settings == {"images": 4, "questions": 5}
    # Of the last image, and bare: 2, 3 and 4 are yes although 1 is not.
    assert found["dpg_bench_entity"].value == 1 / 2
    assert found["dpg_bench_entity"].settings == {"images": 1, "questions": 2}
    assert found["dpg_bench_attribute_color"].value == 1
    assert found["dpg_bench_relation"].value == 1
    assert found["dpg_bench_global"].value == found["dpg_bench_global_general"].value == 0
    assert len(found) == 1 + 4 + 4
    with pytest.raises(UserError, match="2 prompts instead of DPG-Bench's 1065; allow `few`"):
        dpg.measures(items, answers)
    with pytest.raises(UserError, match="no answers"):
        dpg.measures(items, {}, few=True)


def test_only_the_whole_dpg_bench_bears_its_plain_name():
    question = dpg_questions.Question(1, "?", (), "entity - whole")
    items = [dpg_questions.Item(f"i{n}", "text", {1: question}) for n in range(1065)]
    answers = {
        item.item_id: {i: {1: (n + i) % 3 > 0} for i in range(4)} for n, item in enumerate(items)
    }
    found = dpg.measures(items, answers)
    assert [m.metric for m in found] == ["dpg_bench", "dpg_bench_entity", "dpg_bench_entity_whole"]
    assert found[0].settings["images"] == 4260
    assert found[0].low < found[0].value < found[0].high
    del answers["i5"][3]
    with pytest.raises(UserError, match="1 prompts have not 4 images"):
        dpg.measures(items, answers)
    del answers["i5"]
    with pytest.raises(UserError, match="1 prompts have no image"):
        dpg.measures(items, answers)


def answer(item_id="b2", image=0, question=1, given="yes"):
    return {"item_id": item_id, "image": image, "proposition_id": question, "answer": given}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["{"], "line 1: not an answer"),
        ([json.dumps({"item_id": "b2"})], "line 1: not an answer"),
        ([json.dumps(answer(question=2))], "line 1: there is no question 2 of item `b2`"),
        ([json.dumps(answer())] * 2, "line 2: question 1 of `b2` is answered twice"),
        ([json.dumps(answer(given=None))], "`answer` a text"),
        ([json.dumps(answer("a1"))], "image 0 of `a1` has no answer to question 2"),
    ],
)
def test_malformed_answers_are_told_by_line(tmp_path, items, lines, message):
    path = tmp_path / "answers.jsonl"
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError) as told:
        dpg.read_answers(path, items)
    assert message in str(told.value)


def test_only_a_plain_yes_is_one(tmp_path, items):
    path = tmp_path / "answers.jsonl"
    given = ["yes", "no", "Yes", "yes it is"]
    path.write_text(
        "".join(json.dumps(answer(image=i, given=g)) + "\n" for i, g in enumerate(given))
    )
    read = dpg.read_answers(path, items)
    assert read == {"b2": {0: {1: True}, 1: {1: False}, 2: {1: False}, 3: {1: False}}}


# From prompts to scores, by the commands.


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


def test_config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("meta.jsonl", "dpg.csv", "weights.pth"):
        Path(name).touch()
    raw = {"geneval": {"prompts": "meta.jsonl", "detector": "weights.pth"}}
    both = raw | {"dpg_bench": {"prompts": "dpg.csv", "generators": ["a"]}}
    assert list(Compositional.model_validate(both).benchmarks) == ["geneval", "dpg-bench"]
    for wrong, message in [
        ({}, "name `geneval`, `dpg_bench` or both"),
        ({"geneval": raw["geneval"] | {"images": 1}}, "add `few: true`"),
        ({"geneval": raw["geneval"] | {"detector": "no.pth"}}, "detector: no such file"),
        ({"dpg_bench": {"prompts": "dpg.csv", "images": 5, "few": True}}, "a grid has 4 cells"),
        ({"geneval": raw["geneval"] | {"shard": 2}}, "Extra inputs"),
    ]:
        with pytest.raises(ValidationError, match=message):
            Compositional.model_validate(wrong)
