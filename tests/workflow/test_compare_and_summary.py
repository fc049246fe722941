"""Another run's numbers beside these, and the summary of a run, on the real Snakefile."""

import shutil

import pytest

TABLE = "results/metrics.parquet"


@pytest.mark.long
def test_compare_makes_a_page_and_reruns_nothing(checkout):
    other = checkout / "results-old"
    other.mkdir()
    shutil.copy2(checkout / TABLE, other)
    named = ("--config", "compare_with=results-old")
    assert checkout.planned(*named) == {}
    assert checkout.planned("compare", *named) == {"compare_runs": 1, "compare": 1}
    result = checkout.snakemake("compare", "--cores", "1", *named)
    assert result.returncode == 0, result.stdout
    assert "results beside results-old: No difference is shown" in result.stdout
    page = (checkout / "results/comparison.html").read_text()
    assert "results beside results-old" in page
    assert (checkout / "results/comparison.csv").read_text().count("only in") == 0
    assert "compare_with" not in (checkout / "results/report.html").read_text()
    assert checkout.planned("compare", *named) == {}
    assert checkout.planned() == {}
    # Of another run, it is made anew.
    assert checkout.planned("compare", "--config", f"compare_with={other}")


def test_a_comparison_with_nothing_is_refused_in_one_line(checkout):
    for option, said in (
        ((), "error: name the other run's results: snakemake compare --config compare_with=FOLDER"),
        (("--config", "compare_with=nowhere"), "error: compare_with: there is no nowhere/metrics"),
        (("--config", "compare_with=results"), "error: compare_with: results is the folder of thi"),
    ):
        result = checkout.snakemake("compare", "--cores", "1", *option)
        assert result.returncode == 1
        assert said in result.stdout
        assert "Traceback" not in result.stdout
    assert checkout.planned() == {}


def test_a_run_ends_with_a_summary(checkout):
    (checkout / "results/report.html").unlink()
    (checkout / "results/claims.csv").unlink()
    result = checkout.snakemake("--cores", "1")
    assert result.returncode == 0, result.stdout
    summary = result.stdout[result.stdout.index("Done: 2 jobs in ") :]
    assert "images        1,797 real, 40 synthetic, 180 composite" in summary
    assert "Can classifiers tell generated images from real ones?" in summary
    assert (checkout / "results/report.html").as_uri() in summary
    assert len(summary.splitlines()) <= 25
    # Whatever is wrong with it, the run has come to its end.
    (checkout / "results/report.html").unlink()
    (checkout / "workflow/scripts/summarise_run.py").write_text("raise SystemExit(7)")
    assert checkout.snakemake("--cores", "1").returncode == 0
