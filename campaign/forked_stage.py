"""A job's command without the seconds that Python takes to import torch: by a fork.

The runner imports the libraries of all commands once, and none of the project; a fork of it then
runs a command as `python SCRIPT OPTIONS` would, in a folder of its own. So hundreds of kills hit
the work itself. What has a launcher or a shell is for trials that start processes as they are.
"""

import contextlib
import importlib
import os
import runpy
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

from campaign import study
from campaign.study import Job, Tree

LATER = (  # what commands import when they need it
    "altair", "diffusers.models.autoencoders.autoencoder_kl", "diffusers.pipelines.pipeline_utils",
    "diffusers.schedulers.scheduling_flow_match_euler_discrete", "matplotlib.pyplot",
    "safetensors.torch", "scipy.optimize", "scipy.spatial", "sklearn.datasets", "timm", "torch",
    "torchvision.transforms.v2", "transformers.models.t5.modeling_t5", "vl_convert",
    "torch._dynamo", "transformers.models.clip.modeling_clip", "sklearn.neighbors",
    "torch.distributed",
)  # fmt: skip
LIST = """
import runpy, sys
from pathlib import Path
for script in sorted(Path(sys.argv[1]).glob("*.py")):
    try:
        runpy.run_path(str(script), run_name="listed")
    except BaseException:
        pass
print("\\n".join(sys.modules))
"""


def possible(job: Job) -> bool:
    """Say whether a job is one Python command."""
    return job.command.startswith("python $SYNTHGAP_SCRIPTS/")


@cache
def prepare() -> None:
    """Import what the commands import, but for the project's own modules."""
    folder = study.reference()
    scripts = folder / "workflow/scripts"
    environment = os.environ | {"PYTHONPATH": f"{folder / 'src'}:{scripts}"}
    listed = folder.with_suffix(".modules")
    if not listed.exists():
        command = [sys.executable, "-c", LIST, str(scripts)]
        done = subprocess.run(command, env=environment, capture_output=True, check=True)
        listed.write_bytes(done.stdout)
    own = {"synthgap", "listed", "__main__", *(script.stem for script in scripts.glob("*.py"))}
    for name in [*listed.read_text().split(), *LATER]:
        if name.partition(".")[0] not in own:
            with contextlib.suppress(Exception):
                importlib.import_module(name)


class Forked:
    """A child that runs a job's command; it is asked for as `subprocess.Popen` is.

    Args:
        output: takes what the command says.
        before: called in the child, to plant a fault.
    """

    def __init__(
        self, tree: Tree, job: Job, output: Path, before: Callable[[], None] = lambda: None
    ) -> None:
        prepare()
        self.returncode: int | None = None
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            _be(tree, job, output, before)
        tree.sessions.add(self.pid)

    def poll(self) -> int | None:
        """Return the exit status, or None while it runs."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float) -> int:
        """Return the exit status; raises subprocess.TimeoutExpired."""
        end = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired("fork", timeout)
            time.sleep(0.005)
        assert self.returncode is not None
        return self.returncode


def _be(tree: Tree, job: Job, output: Path, before: Callable[[], None]) -> None:
    """Become the command; does not return."""
    status = 70
    try:
        study.own_session()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        for number in (1, 2):
            os.dup2(file, number)
        os.chdir(tree.folder)
        os.environ.update(tree.environment())
        source = str(tree.folder / "src")
        sys.path[:] = [
            source,
            *(p for p in sys.path if p and not p.startswith(str(study.ROOT / "s"))),
        ]
        # Of the project only what lies in the tree; other parts may have imported the rest.
        for name in [name for name in sys.modules if name.partition(".")[0] == "synthgap"]:
            del sys.modules[name]
        words = [os.path.expandvars(word) for word in shlex.split(job.command)]
        sys.argv = words[1:]
        sys.path.insert(0, str(Path(words[1]).parent))
        before()
        runpy.run_path(words[1], run_name="__main__")
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
        status = 1
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)
