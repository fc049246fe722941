"""Study D on the real Snakefile: what is trained, measured and shown, and what reruns."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from synthgap.data.choice import labels
from synthgap.data.shards import Manifest

pytestmark = pytest.mark.long  # a study of its own is made first

CONFIG = "tiny-casd.yaml"
DM, CASD = "dm-n16-c0to7", "casd-n16-c0to7-pretrained-m12-c4to9"
RESULTS = "results-d"


@pytest.fixture(scope="module")
def rows(study_d):
    table = pq.read_table(study_d / f"{RESULTS}/metrics.parquet").to_pylist()
    return [row | {"settings": json.loads(row["settings"])} for row in table]


def test_each_arm_learns_from_its_own_images(study_d):
    dm, casd = (Manifest(study_d / f"{RESULTS}/models/{arm}.images.parquet") for arm in (DM, CASD))
    assert labels(dm).tolist() == [0] * 16
    assert labels(casd).tolist() == [0] * 16 + [1] * 12
    for manifest in (dm, casd):
        assert np.bincount(manifest.class_indices[:16], minlength=10).tolist() == [2] * 8 + [0] * 2
    assert np.bincount(casd.class_indices[16:], minlength=10).tolist() == [0] * 4 + [2] * 6
    assert dm.table["key"].to_pylist() == casd.table["key"].to_pylist()[:16]
    real = Manifest(study_d / f"{RESULTS}/images/real/train/rgb/manifest.parquet")
    places = {f"0-{key}": row for row, key in enumerate(real.table["key"].to_pylist())}
    rows = [places[key] for key in dm.table["key"].to_pylist()]
    assert np.array_equal(dm.images(), real.images(rows))


def test_only_training_images_of_arms_are_made(study_d):
    made = {p.parts[-3:-1] for p in (study_d / f"{RESULTS}/images").glob("*/*/rgb")}
    splits = {(path[0], path[1]) for path in made if path[0] in (DM, CASD)}
    assert splits == {(DM, "train"), (CASD, "train")}


def test_every_arm_has_its_numbers(rows):
    wanted = {"fd_n24", "recall_k2_euclidean", "coverage_k2_euclidean", "memorised_share_ssim"}
    wanted |= {"ssim_gaussian_rgb_nearest", "class_share", "other_classes_share"}
    for arm in (DM, CASD):
        of = [row for row in rows if row["test_source"] == arm]
        assert wanted <= {row["metric"] for row in of}
        for row in of:
            told = row["settings"]["casd"]
            assert (told["arm"], told["real_images"]) == (arm.partition("-")[0], 16)
            assert told["designs"] == {"eight": 0}
        shares = [0.0] * 10
        for row in of:
            if row["metric"] == "class_share":
                shares[row["settings"]["class_index"]] = row["value"]
        assert sum(shares) == pytest.approx(1)
        [other] = [row["value"] for row in of if row["metric"] == "other_classes_share"]
        assert other == pytest.approx(sum(shares[8:]))
        [near] = [row for row in of if row["metric"] == "ssim_gaussian_rgb_nearest"]
        assert near["settings"]["training_images"] == 16  # not all real ones
        [distance] = [row for row in of if row["metric"] == "fd_n24"]
        assert distance["settings"]["distribution"] == "classifier-c0to7"


def test_real_images_of_the_same_classes_are_the_control(study_d):
    file = study_d / f"{RESULTS}/distribution/classifier-c0to7/real.json"
    [one] = [m for m in json.loads(file.read_text())["measures"] if m["name"] == "fd"]
    assert one["settings"]["real_images"] == 24
    assert one["settings"]["generated_images"] == 24


def test_the_page_tells_what_came_out(study_d):
    page = (study_d / f"{RESULTS}/report.html").read_text()
    for text in ("Do synthetic images help a diffusion model?", "Positive utility", "eight",
                 "What models of real and synthetic images make",
                 "Nearest training images"):  # fmt: skip
        assert text in page
    for figure in ("casd_by_size", "casd_classes"):
        assert (study_d / f"{RESULTS}/figures/{figure}.csv").stat().st_size > 100


def test_what_changes_is_made_again_and_nothing_else(study_d, tmp_path):
    assert study_d.planned("report", config=CONFIG) == {}
    for old, new, first in (
        ("synthetic: [12]", "synthetic: [11]", "choose_images"),
        ("kimg: 0.016", "kimg: 0.024", "train_edm"),
        ("ssim: 0.9", "ssim: 0.8", "measure_memorised"),
    ):
        changed = tmp_path / f"{first}.yaml"
        changed.write_text((study_d / CONFIG).read_text().replace(old, new))
        planned = study_d.planned("report", config=str(changed))
        assert first in planned
        assert planned.get("train_classifier") is None
        assert ("train_edm" in planned) == (first != "measure_memorised")
        assert ("choose_images" in planned) == (first != "measure_memorised")


def test_the_plan_counts_all_its_jobs(study_d):
    result = study_d.snakemake("plan", "--quiet", config=CONFIG)
    assert result.returncode == 0, result.stdout
    lines = [line.split() for line in result.stdout.splitlines()]
    counted = {tuple(line[:2]): line[2:4] for line in lines if len(line) > 4}
    for what, jobs in {("train_edm", DM): "1", ("train_edm", CASD): "1",
                       ("choose_images", "edm"): "3", ("measure_memorised", "casd"): "3",
                       ("count_classes", "casd"): "4"}.items():  # fmt: skip
        assert counted[what] == [jobs, jobs]
    assert ("train_edm", "base") not in counted
