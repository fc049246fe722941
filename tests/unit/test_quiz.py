"""The quiz for people: what is drawn, and the page."""

import base64
import json
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import write_quiz
from quiz_sources import write_source
from synthgap.data.images import decode
from synthgap.data.quiz import as_quiz, draw_quiz, read_quiz
from synthgap.data.shards import Manifest
from synthgap.errors import UserError
from synthgap.metrics.intervals import wilson

SCRIPT = Path(write_quiz.__file__).parents[2] / "src/synthgap/report/quiz.js"
ANIMALS = ("owl", "cat", "fox")


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources")
    first = write_source(folder / "real", ANIMALS, 6, seed=1)
    # Its classes have other numbers, and one of them no counterpart.
    second = write_source(folder / "fake", ("elk", "fox", "owl", "cat"), 5, seed=2)
    return Manifest(first), Manifest(second)


def written(sources, folder, *more):
    first, second = (source.path for source in sources)
    words = ["--first", f"photo={first}", "--second", f"model={second}", "--seed", 3]
    words += ["--question", "Which one is <real>?", "--quiz", folder / "quiz.html"]
    words += ["--key", folder / "key.json", *more]
    write_quiz.main(write_quiz.options().parse_args([str(word) for word in words]))
    return (folder / "quiz.html").read_text(), read_quiz(folder / "key.json")


def embedded(page):
    text = re.search(r'<script type="application/json" id="quiz">(.*?)</script>', page)[1]
    return json.loads(text)


def test_pairs_are_of_one_class_and_no_image_comes_twice(sources):
    drawn = draw_quiz(*sources, pairs=12, references=3, seed=0)
    assert all(one.class_name == other.class_name for one, other in drawn.pairs)
    assert Counter(one.class_name for one, _ in drawn.pairs) == dict.fromkeys(ANIMALS, 4)
    for side, manifest in enumerate(sources):
        shown = [pair[side] for pair in drawn.pairs] + drawn.references[side]
        assert len({picture.key for picture in shown}) == 15
        for picture in shown:
            row = manifest.table.slice(picture.row, 1).to_pylist()[0]
            assert (row["key"], row["class_name"]) == (picture.key, picture.class_name)


def test_half_of_the_first_source_stands_left(sources):
    for pairs, halves in ((12, {6}), (7, {3, 4})):
        sides = [draw_quiz(*sources, pairs=pairs, seed=seed).correct for seed in range(20)]
        assert {side.count("left") for side in sides} == halves
        assert len({tuple(side) for side in sides}) > 15


def test_a_draw_depends_on_the_seed_and_not_on_shards(sources, tmp_path):
    other = Manifest(write_source(tmp_path / "real", ANIMALS, 6, seed=1, shards=3))
    assert other.table["key"].to_pylist() != sources[0].table["key"].to_pylist()
    drawn = draw_quiz(*sources, pairs=10, seed=0)
    again = draw_quiz(other, sources[1], pairs=10, seed=0)
    assert as_quiz(again, question="?", first="a", second="b") == as_quiz(
        drawn, question="?", first="a", second="b"
    )
    assert draw_quiz(*sources, pairs=10, seed=1).pairs != drawn.pairs


def test_another_question_or_other_images_are_another_quiz(sources, tmp_path):
    names = {"first": "a", "second": "b"}
    drawn = draw_quiz(*sources, pairs=10, seed=0)
    repainted = Manifest(write_source(tmp_path / "real", ANIMALS, 6, seed=9))
    ids = {
        as_quiz(drawn, question="?", **names).id,
        as_quiz(drawn, question="Which?", **names).id,
        as_quiz(draw_quiz(*sources, pairs=9, seed=0), question="?", **names).id,
        as_quiz(draw_quiz(repainted, sources[1], pairs=10, seed=0), question="?", **names).id,
    }
    assert len(ids) == 4


def test_of_crops_of_one_image_one_is_shown(sources, tmp_path):
    crops = Manifest(write_source(tmp_path / "crops", ANIMALS, 4, copies=4))
    drawn = draw_quiz(crops, sources[1], pairs=12, seed=0)
    assert len({one.key.rsplit("-", 1)[0] for one, _ in drawn.pairs}) == 12
    with pytest.raises(UserError, match=r"give 12 pairs of one class .* and 13 are asked for"):
        draw_quiz(crops, sources[1], pairs=13, seed=0)


def test_without_a_common_class_pairs_are_of_any(sources, tmp_path):
    birds = Manifest(write_source(tmp_path / "birds", ("wren", "robin"), 3))
    drawn = draw_quiz(birds, sources[1], pairs=6, seed=0)
    assert Counter(one.class_name for one, _ in drawn.pairs) == {"wren": 3, "robin": 3}
    assert {other.class_name for _, other in drawn.pairs} == {"elk", "fox", "owl", "cat"}


def test_too_few_images_are_told(sources):
    with pytest.raises(UserError, match=r"give 15 pairs of one class .* and 16 are asked for;"):
        draw_quiz(*sources, pairs=16, seed=0)
    with pytest.raises(UserError, match=r"real/manifest.parquet has 3 images beside .*, and 4 are"):
        draw_quiz(*sources, pairs=15, references=4, seed=0)
    with pytest.raises(UserError, match=r"give 0 pairs .*\(18 images are in both"):
        draw_quiz(sources[0], sources[0], pairs=1, seed=0)
    with pytest.raises(UserError, match="0 pairs"):
        draw_quiz(*sources, pairs=0, seed=0)


def test_images_of_unlike_sizes_are_refused(sources, tmp_path):
    large = Manifest(write_source(tmp_path / "large", ANIMALS, 6, size=9))
    with pytest.raises(UserError, match=r"photo and model differ in size \(8 x 8, 9 x 9 pixels\)"):
        written((sources[0], large), tmp_path, "--pairs", 4)


def test_the_page_shows_the_pairs_of_its_key(sources, tmp_path):
    page, quiz = written(sources, tmp_path, "--pairs", 8, "--references", 2)
    data = embedded(page)
    by_key = {}
    for manifest in sources:
        images = manifest.images()
        by_key |= dict(zip(manifest.table["key"].to_pylist(), images, strict=True))
    assert data["id"] == quiz.id
    for pair, shown in zip(quiz.pairs, data["pairs"], strict=True):
        for key, content in zip((pair.left, pair.right), shown, strict=True):
            np.testing.assert_array_equal(decode(base64.b64decode(content)), by_key[key])
        correct = pair.left if pair.correct == "left" else pair.right
        assert correct.startswith("real-")
    assert [found["name"] for found in data["references"]] == ["photo", "model"]
    pairs = {content for shown in data["pairs"] for content in shown}
    assert not pairs & {content for found in data["references"] for content in found["images"]}


def test_nothing_on_the_page_tells_the_sources_apart(sources, tmp_path):
    # One source is far easier to encode than the other.
    flat = Manifest(write_source(tmp_path / "flat", ANIMALS, 6, seed=4, flat=True))
    page, quiz = written((flat, sources[1]), tmp_path, "--pairs", 8)
    data = embedded(page)
    assert set(data) == {"id", "type", "pairs", "references", "key"}
    assert data["references"] == []
    contents = [content for shown in data["pairs"] for content in shown]
    assert len({len(content) for content in contents}) == 1
    headers = {
        base64.b64decode(content)[:4] + base64.b64decode(content)[8:16] for content in contents
    }
    assert headers == {b"RIFFWEBPVP8L"}
    for pair in quiz.pairs:
        assert pair.left not in page
        assert pair.right not in page
    for name in ("photo", "model", "flat", "fake"):
        assert name not in re.sub(r'"[A-Za-z0-9+/= ]{40,}"', "", page)


def test_the_page_needs_nothing_from_outside(sources, tmp_path):
    page, _ = written(sources, tmp_path, "--pairs", 4)
    assert "Which one is &lt;real&gt;?" in page
    markup = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r"https?:|//|url\(|@import|\ssrc=|<link", markup.replace("</", "<"))
    assert "https:" not in SCRIPT.read_text()


def test_the_same_command_writes_the_same_bytes(sources, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    for folder in ("a", "b"):
        written(sources, tmp_path / folder, "--pairs", 6, "--references", 1)
    for name in ("quiz.html", "key.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_wrong_options_and_keys_are_told(sources, tmp_path):
    with pytest.raises(UserError, match="give NAME=MANIFEST"):
        write_quiz.source_option("manifest.parquet")
    with pytest.raises(UserError, match="both called photo"):
        written(sources, tmp_path, "--second", f"photo={sources[1].path}")
    _, quiz = written(sources, tmp_path, "--pairs", 4)
    for text, message in (
        ("{}", "no key that write_quiz wrote"),
        ("GIF89a", "no key that write_quiz wrote"),
        (quiz.text().replace('"pair": 2', '"pair": 7'), "no whole key"),
        (quiz.text().replace('"correct": "left"', '"correct": "both"'), "no whole key"),
    ):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(UserError, match=message):
            read_quiz(tmp_path / "bad.json")


KEY = [
    {"left": "a-1", "right": "b-1", "correct": "left"},
    {"left": 'b "2"', "right": "a-2", "correct": "right"},
    {"left": "a-3", "right": "b-3", "correct": "left"},
]
CHOSEN = [("left", 1.25), ("right", 0.04), ("right", 12)]


@pytest.mark.skipif(not shutil.which("node"), reason="needs node")
def test_the_page_scores_and_writes_what_was_answered():
    program = """
    require("vm").runInThisContext(require("fs").readFileSync(process.argv[1], "utf8"));
    const [answers, key, cases] = JSON.parse(process.argv[2]);
    console.log(JSON.stringify({
      csv: csvText("q1", 'Ada, "A"', answers, key),
      name: csvName("q1", "Zoë/..\\\\ x"),
      score: score(answers, key),
      none: score([], key).text,
      wilson: cases.map(([right, n]) => wilson(right, n)),
    }));
    """
    answers = [{"chosen": chosen, "seconds": seconds} for chosen, seconds in CHOSEN]
    cases = [(0, 5), (3, 5), (5, 5), (20, 32)]
    words = ["node", "-e", program, str(SCRIPT), json.dumps([answers, KEY, cases])]
    found = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    assert found["csv"] == (
        "quiz,participant,pair,left,right,chosen,correct,seconds\n"
        'q1,"Ada, ""A""",1,a-1,b-1,left,1,1.3\n'
        'q1,"Ada, ""A""",2,"b ""2""",a-2,right,1,0.0\n'
        'q1,"Ada, ""A""",3,a-3,b-3,right,0,12.0\n'
    )
    assert found["name"] == "answers-q1-Zoe-x.csv"
    assert (found["score"]["right"], found["score"]["n"]) == (2, 3)
    assert "2 of 3 pairs: 66.7\xa0% (95\xa0% interval 21 to 94\xa0%)" in found["score"]["text"]
    assert "no pair" in found["none"]
    for case, limits in zip(cases, found["wilson"], strict=True):
        assert limits == pytest.approx(wilson(*case)[1:], abs=1e-12)
