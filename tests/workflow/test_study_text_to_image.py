"""Study B on the real Snakefile: what is trained, measured and shown, and what reruns."""

import json
import shutil

import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file

from checkout import Checkout

pytestmark = pytest.mark.long  # a study of its own is made first

CONFIG = "tiny-text-to-image.yaml"


@pytest.fixture(scope="module")
def rows(study_b):
    table = pq.read_table(study_b / "results-b/metrics.parquet").to_pylist()
    return [row | {"settings": json.loads(row["settings"])} for row in table]


def test_only_the_split_that_is_asked_for_is_made(study_b):
    folders = (study_b / "results-b/images").glob("*/*/rgb")
    made = {(path.parts[-3], path.parts[-2]) for path in folders}
    generated = {pair for pair in made if pair[0] not in ("real", "cutmix-half")}
    assert generated == {("ta-caption", "test"), ("ta@2-caption", "test"), ("mix-caption", "test")}


def test_every_model_has_its_numbers(rows):
    of_study = [row for row in rows if row["study"] == "text-to-image" and row["seed"] is None]
    sources = {row["test_source"] for row in of_study}
    assert sources == {"ta-caption", "ta@2-caption", "mix-caption", "real"}
    for source in sources - {"real"}:
        metrics = {row["metric"] for row in of_study if row["test_source"] == source}
        assert {"top1_accuracy", "class_probability", "coverage_k2_euclidean"} <= metrics
        [told] = [r["settings"] for r in of_study
                  if (r["test_source"], r["metric"]) == (source, "top1_accuracy")]  # fmt: skip
        assert told["training_step"] == (2 if "@" in source else 4)
        assert told["on_curve"] == ("@" in source)
        mixed = "CutMix half, p 0.5 above 400"
        assert told["augmentation"] == (mixed if source.startswith("mix") else "none")


def test_the_model_before_its_end_is_another_one(study_b):
    weights = "transformer/diffusion_pytorch_model.safetensors"
    end = load_file(study_b / "results-b/models/ta" / weights)
    before = load_file(study_b / "results-b/models/ta.snapshots/2" / weights)
    assert end.keys() == before.keys()
    assert any(not end[name].equal(before[name]) for name in end)


def test_composites_are_described_by_what_they_are_made_of(study_b):
    [path] = (study_b / "results-b/captions/cutmix-half/train").glob("*.parquet")
    captions = {row["key"]: row["caption"] for row in pq.read_table(path).to_pylist()}
    rows = pq.read_table(study_b / "results-b/images/cutmix-half/train/rgb/00000.parquet")
    for row in rows.to_pylist():
        base, details = row["class_name"], json.loads(row["details"])
        partner, across = details["partner_class_name"], details["box"][1] > 0
        words = ("on the left", "on the right") if across else ("above", "below")
        assert captions[row["key"]] == f"{base} {words[0]}, {partner} {words[1]}"


def test_page_and_figures_show_the_study(study_b):
    page = (study_b / "results-b/report.html").read_text()
    assert "What do captions and augmentation make of text-to-image models?" in page
    for name in ("text_to_image", "text_to_image_by_step"):
        assert f'id="figure-{name}"' in page
        assert (study_b / f"results-b/figures/{name}.csv").exists()


def test_what_reruns(study_b, tmp_path):
    copy = Checkout(shutil.copytree(study_b.folder, tmp_path / "copy", symlinks=True))
    assert copy.planned(config=CONFIG) == {}
    # Nodes and the study's own words shape no model.
    copy.edit(CONFIG, "generators: [ta, mix]", "generators: [mix, ta]")
    assert not copy.planned(config=CONFIG).keys() & {"train_generator", "generate_images"}
    # A further training is of its own, and so is all that is measured of it.
    copy.edit(CONFIG, "    classifier: resnet\n    curve", "    trainings: 2\n"
                      "    classifier: resnet\n    curve")  # fmt: skip
    planned = copy.planned(config=CONFIG)
    assert (planned["train_generator"], planned["generate_images"]) == (2, 2)
    assert "encode_latents" not in planned
    # Another probability is another training of one model.
    copy.edit(CONFIG, "probability: 0.5", "probability: 0.25")
    assert copy.planned(config=CONFIG)["train_generator"] == 3
