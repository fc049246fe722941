"""What would stop the jobs is said before any is submitted."""

import re

import pytest

pytestmark = pytest.mark.cluster

SHARD = "results/images/flow-g2-caption/train/rgb/00000.tar"


@pytest.mark.parametrize(
    ("fact", "words"),
    [
        (
            "gpu_model: a100",
            "config/site.yaml; GPUs there: h100",
        ),
        ("account: nobody", "Set `account` in config/site.yaml; yours: lab"),
        (
            "gpu_partition: fast",
            "Set `gpu_partition` in config/site.yaml; there are: cpu",
        ),
        ("max_mem_mb: 900000", "Set `max_mem_mb`"),
        ("scratch: /proc/scratch", "/proc/scratch"),
        ("scratch: LOGIN_ONLY/scratch", "does not see"),
        ("gpu_modell: h100", "gpu_modell: unknown key; did you mean `gpu_model`?"),
    ],
)
def test_a_wrong_fact_of_the_site_stops_the_run_at_once(checkout, fact, words):
    (checkout / SHARD).unlink()
    before = checkout.submissions()
    fact = fact.replace("LOGIN_ONLY", str(checkout.cluster.folder / "login_only"))
    memory = [] if "max_mem" not in fact else ["--set-resources", "generate_images:mem_mb=900000"]
    done = checkout.start(SHARD, *memory, "--config", f"site={{{fact}}}").wait(120)
    assert done.returncode == 1
    assert words in done.output
    assert "Traceback" not in done.output
    assert checkout.submissions() == before > 0
    assert checkout.jobs() == []
    # Nothing is in the way of the next start.
    assert not list((checkout / ".snakemake/slurm_runs").glob("*.json"))
    assert not list((checkout / ".snakemake").glob("locks/*"))


def test_results_that_the_nodes_cannot_see_stop_the_run_at_once(checkout):
    elsewhere = checkout.cluster.folder / "login_only/results"
    done = checkout.start("images", "--config", f"results={elsewhere}").wait(120)
    assert done.returncode == 1
    # Of the CPUs' partition, unless its nodes are all busy with another test's jobs.
    assert re.search(rf"a node of partition [cg]pu does not see {elsewhere}", done.output)
    assert checkout.jobs() == []
