"""GenEval and DPG-Bench: files, layouts, rules and scores, by hand-computed cases."""

import ast
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

import answer_questions
import detect_objects
from synthgap.compositional import dpg, dpg_questions, geneval
from synthgap.compositional.geneval_rules import Rules, judge, overlap, relations, select
from synthgap.compositional.scoring import stratified_mean
from synthgap.config.compositional import Compositional
from synthgap.errors import UserError

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
