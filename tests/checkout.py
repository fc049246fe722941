"""A copy of the project in a folder of its own, in which Snakemake runs as a user starts it."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PARTS = ("Snakefile", "workflow", "src", "config", "profiles", "slurm", "envs")


@dataclass
class Checkout:
    """A checkout of the project with its results."""

    folder: Path

    def __truediv__(self, path: str) -> Path:
        return self.folder / path

    def environment(self) -> dict[str, str]:
        return os.environ | {"PYTHONPATH": str(self.folder / "src")}

    def snakemake(
        self, *options: str, config: str | list[str] = "tiny.yaml"
    ) -> subprocess.CompletedProcess:
        """Run the command that a user types; standard error joins standard output.

        config: a file, or several of which the later ones are laid over the first.
        """
        files = [config] if isinstance(config, str) else config
        command = [sys.executable, "-m", "snakemake", *options, "--configfile", *files]
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=1800,
        )

    def planned(self, *options: str, config: str | list[str] = "tiny.yaml") -> dict[str, int]:
        """Return how many jobs of each rule a dry run plans."""
        result = self.snakemake("--dry-run", *options, "--quiet", "rules", config=config)
        assert result.returncode == 0, result.stdout
        table = re.findall(r"^([a-z_]+) +(\d+)$", result.stdout, re.MULTILINE)
        counts = {rule: int(count) for rule, count in table if rule != "total"}
        assert counts or "Nothing to be done" in result.stdout, result.stdout
        return {rule: count for rule, count in counts.items() if rule != "all"}

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace text in a file, which must hold it."""
        text = (self / path).read_text()
        assert old in text
        (self / path).write_text(text.replace(old, new))


def copy_checkout(folder: Path) -> Checkout:
    """Copy what a user clones, without tests."""
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, folder / part, ignore=ignored)
        else:
            shutil.copy2(ROOT / part, folder / part)
    return Checkout(folder)
