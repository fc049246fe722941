"""What Snakemake itself costs a run, with and without its rate limit (see rules/machine.smk).

Jobs of three seconds, all ready from the beginning, eight at once on one machine: CPU seconds of
the process that hands them out.

    python benchmarks/dispatching.py --output benchmarks/results/dispatching.json
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

SNAKEFILE = """
rule all:
    input: expand("out/{i}", i=range(%d))
onstart:
    if %r:
        workflow.scheduler.job_rate_limiter = None
rule one:
    output: "out/{i}"
    params: x=lambda w: w.i
    shell: "exec sleep 3 > {output}"
"""


def cpu_seconds(jobs: int, lifted: bool) -> float:
    """Run `jobs` jobs, eight at once; return Snakemake's own CPU seconds."""
    command = [sys.executable, "-m", "snakemake", "--cores", "8", "--quiet", "all"]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "Snakefile").write_text(SNAKEFILE % (jobs, lifted))
        with subprocess.Popen([*command, "--scheduler", "greedy"], cwd=folder) as process:
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode or len(list(Path(folder, "out").iterdir())) < jobs:
            raise SystemExit("Snakemake failed")
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 100, 300])
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    rows = []
    for jobs in args.jobs:
        limited, lifted = (round(cpu_seconds(jobs, one), 2) for one in (False, True))
        rows.append({"jobs": jobs, "limited": limited, "lifted": lifted})
        print(f"{jobs} jobs: {limited} s of CPU, without the limit {lifted} s", flush=True)
    about = {
        "snakemake": version("snakemake"),
        "cpus": os.cpu_count(),
        "machine": platform.machine(),
    }
    if args.output:
        args.output.write_text(json.dumps(about | {"cpu_seconds": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
