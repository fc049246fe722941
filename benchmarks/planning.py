"""Compare what planning costs: the workflow against a bare engine with a graph of the same shape.

Both are dry runs of `snakemake`, in turns, in fresh processes. Ours is the real Snakefile with a
config that is scaled to the wanted number of jobs. The bare one is a Snakefile written from our
graph: the same rules, jobs, files and dependencies, and nothing else.

    python benchmarks/planning.py --output benchmarks/results/planning.json
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stderr
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from statistics import median
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
STUDY = ROOT / "config" / "studies" / "transfer.yaml"
WAYS = ("ours", "bare")
WHAT = ("all", "one shard")
TARGETS = {"ratio": 1.3, "peak_mib": 1000, "one_s": 4.0}
WILDCARD = re.compile(r"\{(\w+)(?:,(?:[^{}]|\{\d+\})*)?\}")  # in a pattern, with its constraint


def scaled(study: Path, jobs: int) -> dict[str, Any]:
    """Return a study's config with so many shards that about this many jobs make synthetic ones."""
    config: dict[str, Any] = yaml.safe_load(study.read_text())
    shards = [generator["shards"] for generator in config["generators"].values()]
    jobs_a_shard = len(config["synthetic"]["prompts"])
    factor = jobs / (jobs_a_shard * sum(sum(numbers.values()) for numbers in shards))
    for numbers in shards:
        numbers |= {split: max(1, round(factor * n)) for split, n in numbers.items()}
    return config


def shape(config: Path) -> dict[str, Any]:
    """Return the rules with their patterns, the jobs' other inputs, and one shard, of our graph."""
    from snakemake import api
    from snakemake.settings import types

    quiet = {types.Quietness.RULES, types.Quietness.PROGRESS}
    output = types.OutputSettings(dryrun=True, quiet=quiet)
    with redirect_stderr(StringIO()), api.SnakemakeApi(output) as snakemake:
        workflow = snakemake.workflow(
            resource_settings=types.ResourceSettings(cores=1),
            config_settings=types.ConfigSettings(configfiles=[config]),
            snakefile=ROOT / "Snakefile",
            workdir=config.parent,
        )
        workflow.dag().execute_workflow(executor="dryrun")
        jobs = list(workflow._workflow.dag.jobs)  # nothing public tells a job's files
    rules: dict[str, Any] = {}
    for job in jobs:
        rule = job.rule
        # Constant lists, such as those of `all`, are listed too: the file is then easier to read.
        patterns = [str(f) for f in rule.input if not callable(f) and "{" in str(f)]
        names = sorted(rule.wildcard_names)
        row = {
            "input": patterns,
            "output": [str(f) for f in rule.output],
            "directories": [bool(f.flags.get("directory")) for f in rule.output],
            "log": [str(f) for f in rule.log],
            "benchmark": str(rule.benchmark) if rule.benchmark else None,
            "wildcards": names,
            "listed": {},
        }
        known = rules.setdefault(rule.name, row)
        values = {name: job.wildcards_dict[name] for name in names}
        implied = {filled(pattern, values) for pattern in patterns}
        if listed := [str(f) for f in job.input if str(f) not in implied]:
            known["listed"][" ".join(values.values())] = listed
    files = Counter[str]()
    for job in jobs:
        files["input"] += len(job.input)
        files["output"] += len(job.output)
        files["log"] += len(job.log)
        files["benchmark"] += bool(job.benchmark)
    shards = sorted(str(job.output[0]) for job in jobs if job.rule.name == "derive_view")
    counts = Counter(job.rule.name for job in jobs)
    return {"rules": rules, "jobs": counts, "files": files, "shard": shards[len(shards) // 2]}


def filled(pattern: str, wildcards: dict[str, str]) -> str:
    return WILDCARD.sub(lambda found: wildcards[found[1]], pattern)


def bare_rule(name: str, rule: dict[str, Any]) -> Iterable[str]:
    """Yield the lines of a rule that touches its outputs."""
    yield f"rule {name}:"
    inputs = [repr(pattern) for pattern in rule["input"]]
    if rule["listed"]:
        key = " ".join(f"{{w.{wildcard}}}" for wildcard in rule["wildcards"])
        table = f'LISTED["{name}"]'
        inputs.append(f'lambda w: {table}.get(f"{key}", [])' if key else f'{table}[""]')
    outputs = [
        f"directory({output!r})" if directory else repr(output)
        for output, directory in zip(rule["output"], rule["directories"], strict=True)
    ]
    benchmarks = [repr(rule["benchmark"])] if rule["benchmark"] else []
    logs = [repr(log) for log in rule["log"]]
    parts = {"input": inputs, "output": outputs, "log": logs, "benchmark": benchmarks}
    for part, files in parts.items():
        if files:
            yield f"    {part}: {', '.join(files)}"
    if outputs:
        yield '    shell: "touch {output}"'


def write_bare(folder: Path, graph: dict[str, Any]) -> Path:
    """Write the bare Snakefile."""
    listed = {name: rule["listed"] for name, rule in graph["rules"].items()}
    (folder / "listed.json").write_text(json.dumps(listed))
    lines = ["import json", 'LISTED = json.load(open("listed.json"))']
    for name in sorted(graph["rules"], key=lambda name: name != "all"):  # the target comes first
        lines += bare_rule(name, graph["rules"][name])
    snakefile = folder / "bare.smk"
    snakefile.write_text("\n".join(lines) + "\n")
    return snakefile


def snakemake(folder: Path, *options: str) -> tuple[str, dict[str, Any]]:
    """Return what a dry run prints, and what it costs, in a process of its own."""
    profile = str(ROOT / "profiles" / "default")
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--workflow-profile", profile]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    started = time.perf_counter()
    with (folder / "out.txt").open("w+") as out:
        child = subprocess.Popen(
            [*command, *options], cwd=folder, env=environment, stdout=out, stderr=out
        )
        _, status, used = os.wait4(child.pid, 0)
        wall = time.perf_counter() - started
        out.seek(0)
        printed = out.read()
    if os.waitstatus_to_exitcode(status):
        sys.exit(printed)
    cpu = used.ru_utime + used.ru_stime
    return printed, {"cpu_s": cpu, "wall_s": wall, "peak_mib": used.ru_maxrss / 2**10}


def planned(folder: Path, *options: str) -> dict[str, int]:
    """Return the number of jobs of each rule that a dry run plans."""
    printed, _ = snakemake(folder, *options, "--quiet", "rules")
    rows = re.findall(r"^([a-z_]+) +(\d+)$", printed, re.MULTILINE)
    return {rule: int(count) for rule, count in rows if rule != "total"}


def benchmark(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return settings, medians, ratios and raw figures."""
    config = folder / "study.yaml"
    config.write_text(yaml.safe_dump(scaled(args.study, args.jobs), sort_keys=False))
    with ProcessPoolExecutor(1) as process:  # it changes folder and environment
        graph = process.submit(shape, config).result()
    bare = ("--snakefile", str(write_bare(folder, graph)))
    ours = ("--snakefile", str(ROOT / "Snakefile"), "--configfile", str(config))
    options = {"ours": ours, "bare": bare}
    for way in WAYS:  # the same jobs, or the comparison is void
        if (found := planned(folder, *options[way])) != graph["jobs"]:
            sys.exit(f"{way} plans other jobs: {found}, not {dict(graph['jobs'])}")
    runs: dict[str, list[dict[str, Any]]] = {f"{way}, {what}": [] for way in WAYS for what in WHAT}
    for i in range(args.repeats):
        for way in WAYS[:: -1 if i % 2 else 1]:  # none always follows the other
            for what in WHAT:
                target = [graph["shard"]] if what == "one shard" else []
                _, cost = snakemake(folder, *target, *options[way], "--quiet")
                runs[f"{way}, {what}"].append(cost)
    facts = {"jobs": sum(graph["jobs"].values()), "files": graph["files"], "rules": graph["jobs"]}
    return facts | {"target_shard": graph["shard"]} | summary(runs) | {"raw": runs}


def summary(runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Return medians, and the ratios of CPU time within each repetition."""
    medians = {
        name: {key: median(run[key] for run in found) for key in found[0]}
        for name, found in runs.items()
    }
    ratios = {}
    for what in WHAT:
        pairs = zip(runs[f"ours, {what}"], runs[f"bare, {what}"], strict=True)
        each = [ours["cpu_s"] / bare["cpu_s"] for ours, bare in pairs]
        ratios[what] = {"cpu": median(each), "each": each}
    return {"medians": medians, "ratios": ratios}


def table(result: dict[str, Any]) -> str:
    """Return the medians for people."""
    lines = [f"{result['jobs']} jobs; CPU seconds (user and system), medians"]
    lines.append(f"{'':12} {'bare':>8} {'ours':>8} {'ratio':>7} {'wall s':>8} {'peak MiB':>9}")
    for what in WHAT:
        ours, bare = (result["medians"][f"{way}, {what}"] for way in WAYS)
        lines.append(
            f"{what:12} {bare['cpu_s']:8.2f} {ours['cpu_s']:8.2f}"
            f" {result['ratios'][what]['cpu']:7.2f} {ours['wall_s']:8.2f} {ours['peak_mib']:9.0f}"
        )
    ratio, peak, one = TARGETS.values()
    lines.append(f"targets: all at most {ratio} times bare, under {peak} MiB; one shard in {one} s")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--study", type=Path, default=STUDY, help="the config that is scaled")
    parser.add_argument(
        "--jobs", type=int, default=23_500, help="that make synthetic shards, about"
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, help="where to write the results as JSON")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = benchmark(args, Path(folder))
    print(table(result))
    if args.output:
        cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
        machine = {"cpu": cpu and cpu[1], "cores": os.cpu_count()}
        versions = {"snakemake": version("snakemake"), "python": sys.version.split()[0]}
        asked = {"jobs": args.jobs, "study": args.study.name, "repeats": args.repeats}
        facts = {"machine": machine, "versions": versions, "settings": asked, "targets": TARGETS}
        args.output.write_text(json.dumps(facts | result, indent=1) + "\n")


if __name__ == "__main__":
    main()
