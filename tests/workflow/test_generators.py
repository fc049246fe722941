"""Models from a hub, images made anew, and the plan, on the real Snakefile."""

import csv
import json
import re
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
import yaml

import tiny_pipelines
from fake_hub import FakeHub, Repo

pytestmark = pytest.mark.slow

TAR = "results/images/hub-classname/train/rgb/00000.tar"


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    return tiny_pipelines.build("sd15", tmp_path_factory.mktemp("hub") / "tiny")


@pytest.fixture
def hub_study(checkout):
    """The tiny study with a generator that comes from a hub, and one from a folder."""
    study = yaml.safe_load((checkout / "tiny.yaml").read_text())
    del study["studies"]["distinguish"]["people"]  # which names the generator that it has not
    call = {"guidance_scale": 3.0, "steps": 2, "image_size": 32, "batch_size": 4}
    study["generators"] = {"hub": {"model": "lab/tiny", **call}}
    study["synthetic"]["prompts"] = ["classname"]
    (checkout / "hub.yaml").write_text(yaml.safe_dump(study))
    return checkout


def run(checkout, *options, endpoint="http://127.0.0.1:9", token=None):
    environment = checkout.environment() | {"HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_XET": "1"}
    environment |= {"HF_HOME": str(checkout / "hf")} | ({"HF_TOKEN": token} if token else {})
    cores = [] if "--cores" in options else ["--cores", "2"]
    command = [sys.executable, "-m", "snakemake", *cores, *options]
    return subprocess.run(
        [*command, "--configfile", "hub.yaml"], cwd=checkout.folder, env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600,
    )  # fmt: skip


@pytest.mark.long
def test_gated_model_fails_before_generation_then_downloads_then_runs_offline(
    hub_study, repository
):
    with FakeHub(lab__tiny=Repo(repository, gated="manual")) as hub:
        hub.tokens.add("hf_let_me_in")
        refused = run(hub_study, TAR, endpoint=hub.endpoint)
        assert refused.returncode != 0
        assert "accept its terms at https://huggingface.co/lab/tiny" in refused.stdout
        assert "HF_TOKEN" in refused.stdout
        assert "Traceback" not in refused.stdout
        assert "rule generate_images" not in refused.stdout
        target = "results/models/hub/lab--tiny"
        passed = run(hub_study, target, endpoint=hub.endpoint, token="hf_let_me_in")
        assert passed.returncode == 0, passed.stdout
        commit = hub.repos["lab/tiny"].commit
    written = [path for path in hub_study.folder.rglob("*") if path.is_file()]
    assert not any(b"hf_let_me_in" in path.read_bytes() for path in written)
    # No hub from here on.
    offline = run(hub_study, TAR)
    assert offline.returncode == 0, offline.stdout
    rows = pq.read_table(hub_study / TAR.replace(".tar", ".parquet")).to_pylist()
    assert {row["status"] for row in rows} == {"ok"}
    assert {json.loads(row["details"])["model"] for row in rows} == {f"lab/tiny@{commit}"}
    assert "Nothing to be done" in run(hub_study, TAR, "--dry-run").stdout


def test_no_generation_starts_where_another_model_is_out_of_reach(hub_study, repository):
    study = yaml.safe_load((hub_study / "hub.yaml").read_text())
    study["generators"]["local"] = study["generators"]["hub"] | {"model": str(repository)}
    (hub_study / "hub.yaml").write_text(yaml.safe_dump(study))
    with FakeHub(lab__tiny=Repo(repository, gated="manual")) as hub:
        result = run(hub_study, "images", "--cores", "1", endpoint=hub.endpoint)
    assert result.returncode != 0
    assert "accept its terms at https://huggingface.co/lab/tiny" in result.stdout
    assert "rule generate_images" not in result.stdout


@pytest.mark.long
def test_shard_of_a_folder_is_made_again_only_for_what_shapes_it(hub_study, repository):
    hub_study.edit("hub.yaml", "model: lab/tiny", f"model: {repository}")
    assert run(hub_study, TAR).returncode == 0
    hub_study.edit("hub.yaml", "batch_size: 4", "batch_size: 4\n    max_failed: 3")
    assert "Nothing to be done" in run(hub_study, TAR, "-n").stdout
    # Weights that are replaced in place are noticed, though their folder's time is the old one.
    weights = next(repository.rglob("unet/*.safetensors"))
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + b"\0")
    planned = run(hub_study, TAR, "-n", "--quiet", "rules").stdout
    assert re.search(r"generate_images +1\b", planned)
    weights.write_bytes(content)
    assert "Nothing to be done" in run(hub_study, TAR, "-n").stdout
    hub_study.edit("hub.yaml", "batch_size: 4", "batch_size: 5")
    planned = run(hub_study, TAR, "-n", "--quiet", "rules").stdout
    assert re.search(r"generate_images +1\b", planned)
    assert re.search(r"params have changed[^:]*:\s+generate_images", planned, re.IGNORECASE)


def regenerate(checkout, *options):
    script = checkout / "workflow/scripts/regenerate_image.py"
    return subprocess.run(
        [sys.executable, str(script), *options], cwd=checkout.folder, env=checkout.environment(),
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip


@pytest.mark.long
def test_one_image_is_made_again_and_compared(checkout):
    tar = "results/images/flow-g2-caption/train/rgb/00001.tar"
    rows = pq.read_table(checkout / tar.replace(".tar", ".parquet"))
    key = rows["key"][3].as_py()
    options = ["--tar", tar, "--key", key]
    again = regenerate(checkout, *options, "--image", "again.png")
    assert (again.returncode, again.stdout) == (0, f"{key}: identical, byte for byte\n")
    assert (checkout / "again.png").stat().st_size == rows["length"][3].as_py()
    alone = regenerate(checkout, *options, "--alone")
    assert alone.returncode in (0, 3), alone.stderr
    by = re.search(r"by at most (\d+) of 255", alone.stdout)
    assert by is None or int(by[1]) <= 2
    # Another seed makes another image, which must not pass.
    index = rows.schema.get_field_index("seed")
    seeds = [1, *rows["seed"].to_pylist()[1:]]
    other = rows.set_column(index, rows.schema.field(index), [seeds])
    pq.write_table(other, checkout / tar.replace(".tar", ".parquet"))
    # Otherwise the rows would be refused as damaged.
    (checkout / tar).with_name(".00001.parquet.sha256").unlink()
    changed = regenerate(checkout, "--tar", tar, "--key", rows["key"][0].as_py())
    assert changed.returncode == 3
    assert re.search(r"not identical: [\d.]+% of the pixels differ, by at most \d+", changed.stdout)
    unknown = regenerate(checkout, "--tar", tar, "--key", "9999-000000")
    assert unknown.returncode == 1
    assert "no image 9999-000000" in unknown.stderr
    assert "Traceback" not in unknown.stderr


def read_plan(checkout, config="tiny.yaml"):
    result = checkout.snakemake("plan", config=config)
    assert result.returncode == 0, result.stdout
    with (checkout / "plan.csv").open() as file:
        return list(csv.DictReader(file)), result.stdout


def test_plan_counts_the_jobs_that_a_dry_run_shows(checkout):
    before = {path: path.stat().st_mtime_ns for path in (checkout / "results").rglob("*")}
    rows, printed = read_plan(checkout)
    jobs, done = {}, {}
    for row in rows:
        jobs[row["stage"]] = jobs.get(row["stage"], 0) + int(row["jobs"])
        done[row["stage"]] = done.get(row["stage"], 0) + int(row["done"])
    planned = checkout.planned("--forceall")
    assert jobs == {stage: count for stage, count in planned.items() if stage in jobs}
    light = {"index_real", "gather_shards", "write_prompts", "compare_sources", "collect_metrics"}
    light |= {
        "blend_sources",
        "choose_examples",
        "plot_figure",
        "draw_contact_sheet",
        "draw_probe_sheet",
        "draw_occlusion",
        "write_quiz",
        "write_report",
    }
    assert planned.keys() - jobs.keys() == light
    assert done == jobs, "all of it is finished"
    assert "generate_images" in printed
    # Finished shards tell their own speed and size.
    shards = [
        json.loads(p.read_text()) for p in checkout.folder.glob("results/images/flow*/*/*/*.json")
    ]
    speeds = sorted(shard["images_per_second"] for shard in shards)
    [generation] = [row for row in rows if row["stage"] == "generate_images"]
    assert generation["basis"] == "measured"
    assert speeds[0] <= float(generation["images_per_second"]) <= speeds[-1]
    assert float(generation["hours"]) == 0
    assert {path: path.stat().st_mtime_ns for path in (checkout / "results").rglob("*")} == before


@pytest.mark.parametrize(
    ("old", "new", "stale"),
    [
        ("guidance_scale: 2.0", "guidance_scale: 3.0", 4),
        ("checkpoint_seconds: 0", "seed: 5", 4),
        ("samples_per_class: {train: 2,", "samples_per_class: {train: 4,", 2),
    ],
)
def test_plan_does_not_count_shards_of_other_settings(checkout, old, new, stale):
    checkout.edit("tiny.yaml", old, new)
    rows, printed = read_plan(checkout)
    [generation] = [row for row in rows if row["stage"] == "generate_images"]
    assert int(generation["done"]) == 4 - stale
    assert f"{stale} shards were made with other settings; they are not counted as done" in printed
    unknown = "not known yet, and so not in these hours: generate_images flow-g2-caption"
    assert (unknown in printed) == (stale == 4)


def test_plan_of_the_paper_needs_neither_images_nor_models(checkout):
    rows, printed = read_plan(checkout, "config/studies/transfer.yaml")
    generation = [row for row in rows if row["stage"] == "generate_images"]
    assert len(generation) == 28
    assert all(int(row["images"]) >= 100_000 for row in generation)
    assert all(float(row["hours"]) > 0 and row["source"] for row in generation)
    gated = [row for row in rows if row["stage"] == "download_model" and "gated" in row["note"]]
    assert "black-forest-labs/FLUX.1-dev" in {row["what"] for row in gated}
    assert "HF_TOKEN" in printed
    assert re.search(r"[\d,.]+ GPU hours left .*\n[\d.,]+ hours on 64 GPUs", printed)
    assert not (checkout / "results/transfer").exists()


def test_bad_generators_stop_before_any_job(checkout):
    study = yaml.safe_load((checkout / "tiny.yaml").read_text())
    del study["studies"]["distinguish"]["people"]  # which names the generator that it has not
    for entry, said in [
        ({"preset": "sdlx"}, "no preset `sdlx`; did you mean `sdxl`?"),
        ({"preset": "sdxl", "arguments": {"cfg": 3}}, "StableDiffusionXLPipeline takes no `cfg`"),
        ({"model": "./nowhere", "steps": 2, "guidance_scale": 1.0}, "no folder ./nowhere"),
    ]:
        study["generators"] = {"mine": entry}
        (checkout / "bad.yaml").write_text(yaml.safe_dump(study))
        result = checkout.snakemake("-n", config="bad.yaml")
        assert result.returncode != 0
        assert said in result.stdout
        assert "Traceback" not in result.stdout
