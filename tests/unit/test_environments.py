"""The environments say what the lock file says, and are used only where they are asked for."""

import os
import re
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
# With all that Snakemake prints by itself.
IN_FULL = ("--logger-synthgap-style", "snakemake")
LOCK = (ROOT / "requirements.lock").read_text()
CONDA = (ROOT / "envs/synthgap.yaml").read_text()
IMAGE = (ROOT / "envs/synthgap.def").read_text()
PROJECT = (ROOT / "pyproject.toml").read_text()
TARGET = "results/real/index.parquet"  # the cheapest file that a job makes

CONDA_STAND_IN = """\
#!/bin/bash
case "$1 $2" in
    "info --json") echo '{{"conda_prefix": "{folder}", "platform": "linux-64"}}' ;;
    "--version ") echo "conda 25.1.0" ;;
    "config --get") echo '{{"get": {{"channel_priority": "strict"}}}}' ;;
    "env create")
        while [ "$1" != --prefix ]; do shift; done
        mkdir -p "$2/bin"
        printf '#!/bin/bash\\necho "$PYTHONPATH" >> {folder}/used\\nexec {python} "$@"\\n' \\
            > "$2/bin/python"
        chmod +x "$2/bin/python" ;;
esac
"""
APPTAINER_STAND_IN = """\
#!/bin/bash
[ "$1" = --version ] && echo "apptainer version 1.4.5" && exit
echo "$@" >> {folder}/used
exec bash -c "${{@: -1}}"
"""


def locked(lock: str) -> set[str]:
    """What a lock file pins, each with its marker. Every line that is no hash is such a pin."""
    lines = [line.removesuffix("\\").strip() for line in lock.splitlines() if line[:1].strip()]
    return {str(Requirement(line)) for line in lines if not line.startswith("#")}


def disagreements(conda: str, lock: str, project: str) -> list[str]:
    """Name what the conda environment, the lock file and pyproject.toml see differently."""
    *_, pip = yaml.safe_load(conda)["dependencies"]
    listed, pins = {str(Requirement(line)) for line in pip["pip"]}, locked(lock)
    found = [f"{pin} is in the conda environment and not in the lock" for pin in listed - pins]
    found += [f"{pin} is in the lock and not in the conda environment" for pin in pins - listed]

    metadata = tomllib.loads(project)["project"]
    wanted = [metadata["dependencies"], *metadata["optional-dependencies"].values()]
    for wish in map(Requirement, chain(*wanted)):
        name = canonicalize_name(wish.name)
        matches = [pin for pin in map(Requirement, pins) if canonicalize_name(pin.name) == name]
        if not matches:
            found.append(f"{wish} of pyproject.toml is not in the lock")
        for pin in matches:
            version = str(pin.specifier).removeprefix("==")
            if not wish.specifier.contains(version, prereleases=True):
                found.append(f"{wish} of pyproject.toml is locked at {version}")
    return sorted(found)


def test_conda_lock_and_project_agree():
    assert disagreements(CONDA, LOCK, PROJECT) == [], "`make lock` writes them anew"


@pytest.mark.parametrize(
    ("which", "old", "new", "said"),
    [
        ("conda", r"torch==[\d.]+", "torch==1.0", "torch==1.0 is in the conda environment"),
        ("conda", r' +- "torch==.*\n', "", "is in the lock and not in the conda environment"),
        (
            "lock",
            r"(?m)^tqdm==[\d.]+",
            "tqdm==1.0",
            "of pyproject.toml is locked at 1.0",
        ),
        ("lock", r"(?m)^tqdm==", "tpdm==", "tqdm>=4.66 of pyproject.toml is not in the lock"),
        ("project", r"jinja2>=[\d.]+", "jinja2>=99", "jinja2>=99 of pyproject.toml is locked"),
    ],
)
def test_disagreement_is_named(which, old, new, said):
    texts = {"conda": CONDA, "lock": LOCK, "project": PROJECT}
    texts[which], count = re.subn(old, new, texts[which], count=1)
    assert count == 1
    assert any(said in line for line in disagreements(**texts))


def test_conda_environment_is_written_from_the_lock():
    command = [sys.executable, ROOT / "envs/write_conda.py"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == CONDA


def test_every_environment_has_the_python_of_the_lock():
    lock_target = (ROOT / "Makefile").read_text().partition("\nlock:")[2]
    version = re.search(r"--python-version (\S+)", lock_target)[1]
    assert f"python={version}" in yaml.safe_load(CONDA)["dependencies"]
    assert version == "3.11"
    assert "From: debian:bookworm" in IMAGE, "Debian's release with Python 3.11"


def test_image_has_all_of_the_lock_and_nothing_else():
    assert "requirements.lock /opt/requirements.lock" in IMAGE
    commands = re.sub(r" *\\\n *", " ", IMAGE).splitlines()
    (install,) = [command for command in commands if "pip install" in command]
    assert install.endswith("--require-hashes --requirement /opt/requirements.lock")


def test_every_job_names_the_environment():
    for file in sorted((ROOT / "workflow/rules").glob("*.smk")):
        for rule in re.split(r"(?m)^(?=rule )", file.read_text())[1:]:
            if "    shell:\n" in rule:
                # Two benchmarks' networks need old packages, and have environments of their own.
                named = re.search(r"    conda:\n        (BENCHMARK_)?ENVIRONMENT", rule)
                assert named, rule.splitlines()[0]


def run(folder: Path, *options: str) -> str:
    """Make the cheapest file there is, with the commands in `folder` before all others."""
    command = [sys.executable, "-m", "snakemake", TARGET, "--cores", "1", *options]
    command += ["--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder)]
    command += ["--configfile", str(ROOT / "tests/workflow/tiny.yaml")]
    environment = os.environ | {
        "PATH": f"{folder}/bin:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT / "src"),
    }
    result = subprocess.run(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stdout[-5000:]
    assert (folder / TARGET).exists()
    return result.stdout


def stand_in(folder: Path, name: str, text: str) -> None:
    (folder / "bin").mkdir()
    file = folder / "bin" / name
    file.write_text(text.format(folder=folder, python=sys.executable))
    file.chmod(0o755)
    (folder / "bin" / "activate").write_text('PATH="$1/bin:$PATH"\n')


@pytest.mark.slow
def test_nothing_is_used_unless_asked_for(tmp_path):
    said = run(tmp_path, *IN_FULL)
    assert "Conda environments: ignored" in said
    assert "Singularity containers: ignored" in said
    assert not list((tmp_path / ".snakemake/conda").glob("*"))


@pytest.mark.slow
def test_conda_puts_its_own_python_first_and_jobs_find_the_library(tmp_path):
    stand_in(tmp_path, "conda", CONDA_STAND_IN)
    assert "Activating conda environment" in run(tmp_path, "--sdm", "conda", *IN_FULL)
    # What runs here has the library installed; a real environment only has this path.
    assert (tmp_path / "used").read_text() == f"{ROOT}/src\n"


@pytest.mark.slow
def test_apptainer_gets_the_image_and_options(tmp_path):
    stand_in(tmp_path, "apptainer", APPTAINER_STAND_IN)
    run(tmp_path, "--sdm", "apptainer", "--apptainer-args=--nv")
    used = (tmp_path / "used").read_text()
    assert " --nv " in used
    assert f" {ROOT}/envs/synthgap.sif bash -c " in used
