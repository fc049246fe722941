"""What all commands in `workflow/scripts` share: options, a log, and errors told in one line."""

import argparse
import fcntl
import gc
import hashlib
import json
import logging
import os
import platform
import shlex
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path, PosixPath
from typing import Any, TextIO

from synthgap import __version__, checksums, stopping
from synthgap.digest import code_digest
from synthgap.errors import PeersLostError, UserError
from synthgap.failures import in_one_line
from synthgap.listing import files_below

log = logging.getLogger("synthgap")

_held: list[TextIO] = []  # open as long as the process lives, and so locked

# Libraries whose version can shape a result; each is recorded where a job has loaded it.
RECORDED_LIBRARIES = (
    "diffusers",
    "numpy",
    "PIL",
    "cv2",
    "lpips",
    "open_clip",
    "pyarrow",
    "scipy",
    "simplejpeg",
    "sklearn",
    "timm",
    "torch",
    "torch_fidelity",
    "torchvision",
    "transformers",
)


# Options that decide when a job writes or gives up, and not what it makes.
SHAPES_NOTHING = ("log", "scratch", "checkpoint_seconds", "max_failed", "service", "cache")


class InputPath(PosixPath):
    """An option that names a file or folder to read."""


class OutputPath(PosixPath):
    """An option that names a file to write."""


def input_path(text: str) -> InputPath:
    """Option type: an existing file or folder."""
    path = InputPath(text)
    if not path.exists():
        raise UserError(f"no such file or folder: {text}")
    return path


def output_path(text: str) -> OutputPath:
    """Option type: a file to be written; its folder is made."""
    path = OutputPath(text)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def json_object(text: str) -> dict[str, Any]:
    """Option type: a JSON object, as the rules pass nested settings."""
    value = _json(text)
    if not isinstance(value, dict):
        raise UserError(f"not a JSON object: {text}")
    return value


def json_list(text: str) -> list[Any]:
    """Option type: a JSON list."""
    value = _json(text)
    if not isinstance(value, list):
        raise UserError(f"not a JSON list: {text}")
    return value


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise UserError(f"not JSON: {text} ({error})") from error


def count(text: str) -> int:
    """Option type: a number of things, 1 or more."""
    return _whole(text, 1)


def seed(text: str) -> int:
    """Option type: a seed, 0 or more."""
    return _whole(text, 0)


def _whole(text: str, least: int) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text} is no whole number of {least} or more")
    return int(text)


def command(description: str | None) -> argparse.ArgumentParser:
    """Return the option parser that every command starts from."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--log", type=output_path, help="also write messages to this file")
    return parser


def run(parser: argparse.ArgumentParser, main: Callable[[argparse.Namespace], None]) -> None:
    """Parse the options, call `main`, log what was read, written and how long it took.

    With a log file, only errors (and a progress bar) go to standard error: many jobs share it. What
    is no fault of the program (`synthgap.failures`) and an interruption each end in one line there
    and in the log, without a stack trace. Exits with status 1 (130 when interrupted, 143 when told
    to stop by a signal).
    """
    stopping.listen()
    terminal = logging.StreamHandler(sys.stderr)
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[terminal])
    started = time.monotonic()
    rank = os.environ.get("RANK", "0")
    first = rank == "0"  # of several processes that share the work (`synthgap.processes`)
    try:
        args = parser.parse_args()
        if args.log:
            _log_to(args.log, None if first else rank)
            terminal.setLevel(logging.ERROR)
            log.info("%s %s", Path(sys.argv[0]).stem, shlex.join(sys.argv[1:]))
        read, written = _read_paths(args), _written_paths(args)
        if first:
            checksums.forget(written)
            checksums.check(read)
        main(args)
        for value in vars(args).values():
            _log_path(value)
        if first:
            checksums.note(written)
            _remove_scratch(getattr(args, "scratch", None))
        log.info("took %.1f s", time.monotonic() - started)
    except PeersLostError as error:  # none of its own
        log.log(logging.ERROR if first else logging.INFO, "%s", error)
        sys.exit(error.status)
    except KeyboardInterrupt:
        log.error("interrupted; finished work is kept, run the same command to go on")
        sys.exit(130)
    except stopping.Stopped:
        log.error("stopped by a signal; finished work is kept, the same command goes on with it")
        sys.exit(143)
    except Exception as error:
        if (line := in_one_line(error)) is None:
            log.exception("unexpected error")
        else:
            log.error("error: %s", line)
        sys.exit(1)


def _log_to(path: Path, rank: str | None) -> None:
    """Write the log to a file.

    Args:
        rank: of one of several processes but the first, which writes nothing but its errors.
    """
    handler: logging.Handler
    if rank is None:
        handler, who = _LogFile(_own(path), errors="backslashreplace"), ""
    else:
        handler, who = _LogFile(path, errors="backslashreplace", delay=True), f"process {rank}: "
        handler.setLevel(logging.ERROR)
    handler.setFormatter(logging.Formatter(f"%(asctime)s {who}%(message)s", "%H:%M:%S"))
    log.addHandler(handler)


class _LogFile(logging.FileHandler):
    """A log in which a full disk leaves a gap, and no stack traces on the terminal."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Pass over what cannot be written; what matters is on the terminal, too."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


def _own(path: Path) -> Path:
    """Take a job's log for this process alone, and empty it.

    When a workflow is killed, its jobs run on. One that is started again meanwhile must not write
    the same files at the same time, so it waits here until the first is done.
    """
    file = path.open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        log.warning("waiting for an earlier attempt of this job that is still at work")
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError:
        pass  # a file system without locks
    file.truncate(0)
    _held.append(file)
    return path


def _read_paths(args: argparse.Namespace) -> list[Path]:
    """Return the files and folders to read that the options name, in nested settings, too."""
    found: list[Path] = []

    def look(value: object, *, nested: bool) -> None:
        if isinstance(value, dict):
            look(list(value.values()), nested=True)
        elif isinstance(value, list | tuple):
            for one in value:
                look(one, nested=True)
        elif isinstance(value, InputPath) or (nested and _names_file(value)):
            found.append(Path(str(value)))

    for value in vars(args).values():
        look(value, nested=False)
    return found


def _names_file(value: object) -> bool:
    try:
        return isinstance(value, str) and "/" in value and Path(value).exists()
    except OSError:  # words that are too long for a name
        return False


def _written_paths(args: argparse.Namespace) -> list[Path]:
    values = (value for name, value in vars(args).items() if name != "log")
    return [value for value in values if isinstance(value, OutputPath)]


def _log_path(path: object) -> None:
    if isinstance(path, list):
        for one in path:
            _log_path(one)
    elif isinstance(path, InputPath):
        log.info("read %s", path)
    elif isinstance(path, OutputPath) and path.suffix != ".log" and path.is_file():
        log.info("wrote %s (%d bytes)", path, path.stat().st_size)


def scratch_folder(args: argparse.Namespace, *modules: str) -> Path:
    """Return the folder under `args.scratch` for the unfinished work of exactly this job.

    It is named by a digest of the code, the options that shape the result and the state of the
    files read, so that a job goes on only from its own earlier attempt. What attempts with other
    settings left there is removed. The caller removes `args.scratch` when its result is written.

    modules: that the command imports by a computed name, see `code_digest`.
    """
    shaping: dict[str, Any] = {"code": code_digest(Path(sys.argv[0]).stem, *modules)}
    for name, value in vars(args).items():
        if name in SHAPES_NOTHING or isinstance(value, OutputPath):
            continue
        shaping[name] = _shape(value)
    digest = hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()[:16]
    folder: Path = args.scratch / digest
    for other in args.scratch.glob("*") if args.scratch.exists() else ():
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _remove_scratch(folder: Path | None) -> None:
    """Remove a job's unfinished work, now that its result and the digests of that are written.

    A network file system keeps what is still open, and the folder that it is in. That must not fail
    a job that has done its work.
    """
    if folder is None:
        return
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        gc.collect()  # closes what only a cycle of references holds
        shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        log.info("%s could not be removed whole", folder)


def _shape(value: object) -> object:
    """Return what of an option's value shapes a result: of files to read, their state."""
    if isinstance(value, list):
        return [_shape(one) for one in value]
    return _state(value) if isinstance(value, InputPath) else str(value)


def state_digest(folder: Path) -> str:
    """Return a digest of the names, sizes and times of a folder's files: whether it changed."""
    states = [(str(Path(name).relative_to(folder)), *rest) for name, *rest in _state(folder)]
    return hashlib.sha256(json.dumps(states).encode()).hexdigest()[:16]


def _state(path: Path) -> list[tuple[str, int, int]]:
    """Return name, size and time of a file, or of all files in a folder."""
    files = files_below(path) if path.is_dir() else [path]
    found = [(str(file), file.stat()) for file in files if file.is_file()]
    return [(name, state.st_size, state.st_mtime_ns) for name, state in found]


def installed_versions() -> dict[str, str]:
    """Return the versions of what this process has loaded and that can shape a result."""
    loaded = {
        name: str(getattr(sys.modules[name], "__version__", "unknown"))
        for name in RECORDED_LIBRARIES
        if name in sys.modules
    }
    return {"synthgap": __version__, "python": platform.python_version()} | loaded


def facts(
    args: argparse.Namespace, seconds: float, images: int, device: str = "cpu", **more: Any
) -> dict[str, Any]:
    """Return a job's facts: its resolved options, versions, device and speed."""
    options = {
        name: str(value) if isinstance(value, Path) else value
        for name, value in vars(args).items()
        if not isinstance(value, list) and name != "log"
    }
    return {
        "command": Path(sys.argv[0]).stem,
        "options": options,
        "versions": installed_versions(),
        "device": device,
        "host": platform.node(),
        "slurm_job": os.environ.get("SLURM_JOB_ID"),
        "seconds": round(seconds, 2),
        "images": images,
        "images_per_second": round(images / seconds, 2) if seconds > 0 else None,
        **more,
    }
