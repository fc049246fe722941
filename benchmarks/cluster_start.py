"""Measure what a job loses between its submission and the start of its work, on the test cluster.

Jobs run one after another, so that a node is always free: what is measured is Slurm, the two
Snakemake processes that start in a job, and Python. The peer is `sbatch` of the command alone.
Needs root and Debian's Slurm, as `make test-cluster` does.

    python benchmarks/cluster_start.py --output benchmarks/results/cluster_start.json
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "cluster")]

from on_cluster import SITE, OnCluster  # noqa: E402

from cluster import Cluster  # noqa: E402

# A chain: each job has to wait for the one before.
TARGET = "results/images/real+real/val/rgb/manifest.parquet"
MOST_SECONDS = 20


def starts_of_ours(checkout: OnCluster) -> list[float]:
    """Return the seconds from submission to the first line of each job's log."""
    shutil.rmtree(checkout / "results", ignore_errors=True)
    done = checkout.start(TARGET, "--jobs", "1").wait()
    assert done.returncode == 0, done.output
    command = ["sacct", "--allusers", "--noheader", "--allocations", "--parsable2"]
    time.sleep(5)  # the accounting is some seconds late
    listed = checkout.cluster.run([*command, "--format=WorkDir,Comment,Submit,JobID"]).stdout
    rows = [line.split("|") for line in listed.splitlines()]
    submitted = {}
    for folder, comment, moment, _ in rows:
        if folder == str(checkout.folder) and comment:
            submitted[comment.removeprefix("rule_").replace("_wildcards_", "/")] = moment
    seconds = []
    for log in sorted((checkout / "results/logs").rglob("*.log")):
        name = str(log.relative_to(checkout / "results/logs").with_suffix(""))
        rule, _, wildcards = name.partition("/")
        moment = submitted["/".join([rule, wildcards.replace("/", "_")]).rstrip("/")]
        began = datetime.fromisoformat(f"{moment[:10]}T{log.read_text()[:8]}")
        seconds.append((began - datetime.fromisoformat(moment)).total_seconds())
    return seconds


def starts_of_sbatch(checkout: OnCluster, number: int) -> list[float]:
    """Return the seconds from `sbatch` to the start of Python in jobs of nothing else."""
    seconds = []
    for _ in range(number):
        file = checkout / "began"
        file.unlink(missing_ok=True)
        code = f"import time; open('{file}', 'w').write(str(time.time()))"
        submitted = time.time()
        wrap = f'--wrap={sys.executable} -c "{code}"'
        checkout.cluster.run(["sbatch", "--wait", "--mem=500", "--output=/dev/null", wrap])
        seconds.append(float(file.read_text()) - submitted)
    return seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, help="where to write the results as JSON")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, Cluster(f"{name}/c") as cluster:
        folder = Path(name, "checkout")
        folder.mkdir()
        checkout = OnCluster.copied(folder, cluster)
        shutil.copy2(ROOT / "tests/cluster/small.yaml", folder)
        (folder / "config/site.yaml").write_text(SITE)
        ours = [seconds for _ in range(args.repeats) for seconds in starts_of_ours(checkout)]
        bare = starts_of_sbatch(checkout, len(ours))
    print(f"{len(ours)} jobs, one after another; seconds from submission to the start of work")
    print(f"{'':10}{'median':>8}{'longest':>9}")
    for way, seconds in {"sbatch": bare, "ours": ours}.items():
        print(f"{way:10}{median(seconds):8.1f}{max(seconds):9.1f}")
    print(f"target: at most {MOST_SECONDS}")
    if args.output:
        result = {
            "versions": {
                name: version(name) for name in ("snakemake", "snakemake-executor-plugin-slurm")
            },
            "machine": {"cores": os.cpu_count()},
            "seconds": {"ours": ours, "sbatch": [round(value, 2) for value in bare]},
            "target": MOST_SECONDS,
        }
        args.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
