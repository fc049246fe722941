"""The commands that people type around a run, and what they say of a mistake."""

import pyarrow.parquet as pq
import pytest

pytestmark = pytest.mark.slow


def test_report_and_table_are_there(finished):
    table = pq.read_table(finished / "results/metrics.parquet")
    assert set(table["study"].to_pylist()) == {
        "alignment",
        "captions",
        "distinguish",
        "leaks",
        "mixing",
        "replication",
        "scaling",
        "semi_supervised",
        "transfer",
    }
    # Every number has an interval, but for the constant ones of a sample this small.
    bounded = [row for row in table.to_pylist() if row["ci_low"] is not None]
    assert len(bounded) > 0.8 * table.num_rows
    for row in bounded:
        assert row["ci_low"] <= row["value"] <= row["ci_high"]
    assert "</html>" in (finished / "results/report.html").read_text()


def test_scratch_holds_nothing_but_the_cache_of_features_in_the_end(finished):
    left = [path for path in (finished / "results/.scratch").rglob("*") if path.is_file()]
    assert {path.suffix for path in left} == {".features"}


def test_each_job_has_a_log_that_tells_what_it_did(finished):
    log = (finished / "results/logs/generate_images/flow-g2-caption/train/00000.log").read_text()
    assert "read results/prompts/flow-g2-caption/train.parquet" in log
    assert "wrote results/images/flow-g2-caption/train/rgb/00000.tar" in log
    assert "took " in log


@pytest.mark.parametrize("options", [["--lint"], ["--rulegraph"], ["--list-target-rules"]])
def test_other_commands_work(finished, options):
    result = finished.snakemake(*options)
    assert result.returncode == 0, result.stdout


def test_snakemakes_own_report_has_figures_numbers_and_images_by_category(finished, tmp_path):
    result = finished.snakemake("--report", str(tmp_path / "report.html"))
    assert result.returncode == 0, result.stdout
    page = (tmp_path / "report.html").read_text()
    for category in ("Report", "Figures", "Numbers", "Images"):
        assert f'"{category}": {{' in page
    assert '"figure": "Easy to recognise, hard to learn from?"' in page
    assert "Points under the diagonal are easier to recognise" in page
    assert len(page) < 20_000_000


def test_targets_are_listed_with_help(finished):
    listed = finished.snakemake("--list-target-rules").stdout
    for target in ("all", "images", "views", "transfer", "distinguish", "figures", "report"):
        line = next(line for line in listed.splitlines() if line.strip().startswith(target))
        assert len(line.strip()) > len(target) + 10, f"no help for {target}"


def test_single_target_plans_only_its_way(finished, tmp_path):
    plan = finished.planned("--forceall", "results/captions/real/train/00000.parquet")
    assert plan == {"index_real": 1, "prepare_real": 1, "caption_images": 1}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("guidance_scale: 2.0", "guidence_scale: 2.0", "did you mean `guidance_scale`?"),
        ("guidance_scale: 2.0", "guidance_scale: high", "generators.flow-g2.guidance_scale"),
        ("trained: flow,", "trained: flwo,", "did you mean `flow`?"),
        ("half_width: 3", "half_width: 0", "views.low.half_width"),
    ],
)
def test_bad_config_stops_before_any_job(checkout, old, new, said):
    checkout.edit("tiny.yaml", old, new)
    result = checkout.snakemake("--cores", "1")
    assert result.returncode != 0
    assert said in result.stdout
    assert "Traceback" not in result.stdout
    assert "rule " not in result.stdout
    checkout.edit("tiny.yaml", new, old)
    assert checkout.planned() == {}, "something was lost"


def test_truncated_tar_is_noticed(checkout):
    tar = checkout / "results/images/real/train/rgb/00000.tar"
    tar.write_bytes(tar.read_bytes()[:5000])
    result = checkout.snakemake("--cores", "1", "results/images/real/train/rgb/manifest.parquet")
    assert result.returncode != 0
    assert "results/images/real/train/rgb/00000.tar is damaged" in result.stdout
    assert "Traceback" not in result.stdout
