"""The quiz's page in a browser, driven by its keyboard, through a reload to the file of answers."""

import html
import json
import re
import shutil
import subprocess

import pytest

import firefox
import write_quiz
from quiz_sources import write_source
from synthgap.data.quiz import read_quiz
from synthgap.metrics.human import read_answers

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")

# Answers pairs 1 and 2 with the left image, goes back to the second and changes it, reloads, and
# answers the rest with the right image.
DRIVER = """
<pre id="told"></pre>
<script>
addEventListener("load", async () => {
  const at = (id) => document.getElementById(id);
  const press = (key) => document.body.dispatchEvent(
    new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
  const told = JSON.parse(localStorage.getItem("told") || "[]");
  const visible = () => ["welcome", "pairs", "end"].filter((part) => !at(part).hidden).join();
  const text = (id) => at(id).textContent;
  const tell = () => told.push(`${visible()} ${text("place")} ${text("score")}`);
  if (!told.length) {
    tell();
    at("participant").value = " Zoë, 7 ";
    at("form").requestSubmit();
    press("Enter"); // nothing is chosen yet
    tell();
    press("ArrowLeft"); press("Enter");
    press("ArrowLeft"); press(" ");
    at("back").click();
    told.push(at("left-choose").getAttribute("aria-pressed"));
    press("z");
    told.push(`${at("zoom").open} ${text("zoom-label")}`);
    press("ArrowRight");
    told.push(text("zoom-label"));
    press("Enter");
    told.push(String(at("zoom").open));
    press("ArrowRight"); press("Enter");
    tell();
    localStorage.setItem("told", JSON.stringify(told));
    location.reload();
    return;
  }
  tell();
  press("ArrowRight"); press("Enter");
  at("right-choose").click(); at("next").click();
  tell();
  let blob = null;
  URL.createObjectURL = (made) => { blob = made; return "#"; };
  at("save").click();
  told.push(await blob.text(), text("saved"));
  at("told").textContent = JSON.stringify(told);
});
</script>
"""


def in_chromium(page, profile):
    """What the driver told."""
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000"]
    done = subprocess.run(
        [CHROMIUM, *options, f"--user-data-dir={profile}", "--dump-dom", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
    )
    told = re.search(r'<pre id="told">(.*?)</pre>', done.stdout, re.DOTALL)
    assert told, done.stderr
    return html.unescape(told[1])


def in_firefox(page, profile):
    """The same."""
    with firefox.Firefox(profile) as browser:
        return browser.text_of(page, "told")


BROWSERS = [
    pytest.param(in_chromium, marks=pytest.mark.skipif(not CHROMIUM, reason="needs Chromium")),
    pytest.param(in_firefox, marks=pytest.mark.skipif(not firefox.BINARY, reason="needs Firefox")),
]


@pytest.mark.parametrize("driven", BROWSERS)
def test_a_participant_answers_reloads_and_saves(tmp_path, driven):
    first = write_source(tmp_path / "real", ("owl", "cat"), 3, seed=1)
    second = write_source(tmp_path / "fake", ("owl", "cat"), 3, seed=2)
    words = ["--first", f"real={first}", "--second", f"fake={second}", "--question", "Which?"]
    words += ["--pairs", "4", "--references", "1", "--seed", "0"]
    page, key = tmp_path / "quiz.html", tmp_path / "key.json"
    words += ["--quiz", str(page), "--key", str(key)]
    write_quiz.main(write_quiz.options().parse_args(words))
    page.write_text(page.read_text().replace("</body>", f"{DRIVER}</body>"))
    told = json.loads(driven(page, tmp_path / "profile"))
    welcome, one, pressed, zoom, other, closed, three, again, end, text, saved = told
    assert (welcome.split(), one) == (["welcome"], "pairs Pair 1 of 4 ")
    assert pressed == "true", "what was chosen before is shown on the way back"
    assert (zoom, other, closed) == ("true Left image", "Right image", "false")
    assert three == again == "pairs Pair 3 of 4 ", "a reload resumes, and tells no score"
    quiz = read_quiz(key)
    (tmp_path / "answers.csv").write_text(text)
    answers = read_answers([tmp_path / "answers.csv"], quiz)
    chosen = ["left", "right", "right", "right"]
    expected = [side == pair.correct for side, pair in zip(chosen, quiz.pairs, strict=True)]
    assert [answer.right for answer in answers["Zoë, 7"].values()] == expected
    assert end.startswith("end ")
    assert f"You were right in {sum(expected)} of 4 pairs" in end
    assert f"Saved as answers-{quiz.id}-Zoe-7.csv" in saved
