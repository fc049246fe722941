"""The whole study through `snakemake --profile slurm`."""

import json

import pytest

pytestmark = pytest.mark.cluster


def test_all_stages_ran_as_jobs_and_made_the_report(finished):
    assert (finished / "results/report.html").exists()
    facts = json.loads(
        (finished / "results/images/flow-g2-caption/train/rgb/00000.json").read_text()
    )
    assert facts["slurm_job"]
    assert facts["host"] in {"n1", "n2", "n3"}
    assert finished.jobs() == []


def test_jobs_that_need_a_gpu_had_one_and_no_others(finished):
    with_gpu = {rule for rule, given in finished.allocations if "gres/gpu=1" in given}
    without = {rule for rule, given in finished.allocations if "gres/gpu" not in given}
    assert with_gpu == {
        "encode_latents", "encode_texts", "train_generator", "generate_images",
        "train_classifier", "evaluate_classifier", "extract_features",
        "measure_distribution", "measure_reference",
    }  # fmt: skip
    assert without >= {"prepare_real", "derive_view", "composite_images", "collect_metrics"}
    assert not with_gpu & without


def test_nothing_is_left_to_do(finished):
    assert finished.planned("--profile", "slurm", config="small.yaml") == {}


def test_short_jobs_that_need_a_gpu_can_share_a_job_and_its_gpu(checkout):
    made = sorted((checkout / "results/predictions").rglob("resnet/*.parquet"))
    assert len(made) == 4
    before = [file.read_bytes() for file in made]
    for file in made:
        file.unlink()
    targets = [str(file.relative_to(checkout.folder)) for file in made]
    grouped = ["--groups", "evaluate_classifier=tests", "--group-components", "tests=4"]
    in_turns = ["--resources", "gpu=1", "--set-resource-scopes", "gpu=local"]
    before_it = checkout.submissions()
    done = checkout.start(*targets, *grouped, *in_turns).wait()
    assert done.returncode == 0, done.output
    assert checkout.submissions() == before_it + 1
    assert [file.read_bytes() for file in made] == before
