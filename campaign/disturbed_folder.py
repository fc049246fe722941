"""A folder seen through a file system that is slow, or of which calls fail, as networks and disks do.

    python -m campaign.disturbed_folder FOLDER PLACE '{"delay": 0.005, "seed": 1}'
    python -m campaign.disturbed_folder FOLDER PLACE '{"call": "write", "at": 7, "errno": 5}'

The first waits before each call, 5 ms on average, and each hundredth time a hundred times as long.
In the second, the seventh write fails with EIO, and its path is printed; with `"for_good": true`
all later ones fail as well. It ends when `PLACE` is unmounted.
"""

import functools
import json
import os
import random
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mfusepy

# Calls that can fail. "flush" is close(): where a network file system tells what went wrong with
# a write when it reached the server.
CALLS = ("open", "create", "read", "write", "flush", "rename", "getattr", "readdir")


class Disturbed(mfusepy.Operations):  # type: ignore[misc]  # it has no types
    """The calls, handed on to the folder.

    Args:
        folder: seen.
        delay: mean seconds that a call waits.
        seed: of the delays.
        call: one of `CALLS` that fails; none where it is empty.
        at: which one fails, counted from 1.
        errno: of the failure.
        for_good: whether those after it fail, too.
    """

    use_ns = True

    def __init__(
        self,
        folder: Path,
        *,
        delay: float = 0.0,
        seed: int = 0,
        call: str = "",
        at: int = 0,
        errno: int = 0,
        for_good: bool = False,
    ) -> None:
        self._folder = str(folder)
        self._delay, self._chance = delay, random.Random(seed)
        self._call, self._at, self._errno, self._for_good = call, at, errno, for_good
        self._calls = 0
        self._written: set[int] = set()  # open files that were written to
        self._lock = threading.Lock()
        for name, method in vars(Disturbed).items():
            if callable(method) and not name.startswith("_"):
                setattr(self, name, functools.partial(self._make, name, getattr(self, name)))

    def _make(self, name: str, method: Callable[..., Any], *args: Any) -> Any:
        """Make a call, after a wait, or let it fail."""
        with self._lock:
            seconds = self._chance.expovariate(1 / self._delay) if self._delay else 0.0
            seconds *= 100 if self._chance.random() < 0.01 else 1
            # Of a file that was only read, there is nothing to tell when it is closed. The folder
            # itself is there: whoever mounts it looks at it.
            meant = (
                name == self._call
                and (name != "flush" or args[-1] in self._written)
                and (name, args[0]) != ("getattr", "/")
            )
            self._calls += meant
            past = self._calls - self._at if meant else -1
        time.sleep(seconds)
        if past == 0:
            print(args[0], flush=True)
        if past == 0 or (past > 0 and self._for_good):
            raise mfusepy.FuseOSError(self._errno)
        return method(*args)

    def _path(self, path: str) -> Path:
        return Path(self._folder + path)

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        state = self._path(path).lstat()
        whole = ("st_mode", "st_nlink", "st_uid", "st_gid", "st_size", "st_blocks", "st_ino")
        times = {f"st_{name}time": getattr(state, f"st_{name}time_ns") for name in "amc"}
        return {name: getattr(state, name) for name in whole} | times

    def readdir(self, path: str, fh: int) -> list[str]:
        return [".", "..", *(one.name for one in self._path(path).iterdir())]

    def statfs(self, path: str) -> dict[str, int]:
        state = os.statvfs(self._path(path))
        return {name: getattr(state, name) for name in dir(state) if name.startswith("f_")}

    def open(self, path: str, flags: int) -> int:
        return os.open(self._path(path), flags)

    def create(self, path: str, mode: int, fi: Any = None) -> int:
        return os.open(self._path(path), os.O_RDWR | os.O_CREAT | os.O_TRUNC, mode)

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        return os.pread(fh, size, offset)

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        self._written.add(fh)
        return os.pwrite(fh, data, offset)

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        os.truncate(self._path(path) if fh is None else fh, length)
        return 0

    def flush(self, path: str, fh: int) -> int:
        return 0

    def release(self, path: str, fh: int) -> int:
        self._written.discard(fh)
        os.close(fh)
        return 0

    def rename(self, old: str, new: str) -> int:
        self._path(old).replace(self._path(new))
        return 0

    def unlink(self, path: str) -> int:
        self._path(path).unlink()
        return 0

    def mkdir(self, path: str, mode: int) -> int:
        self._path(path).mkdir(mode)
        return 0

    def rmdir(self, path: str) -> int:
        self._path(path).rmdir()
        return 0

    def link(self, target: str, source: str) -> int:
        self._path(target).hardlink_to(self._path(source))
        return 0

    def symlink(self, target: str, source: str) -> int:
        self._path(target).symlink_to(source)
        return 0

    def readlink(self, path: str) -> str:
        return str(self._path(path).readlink())

    def chmod(self, path: str, mode: int) -> int:
        self._path(path).chmod(mode)
        return 0

    def chown(self, path: str, uid: int, gid: int) -> int:
        os.chown(self._path(path), uid, gid)
        return 0

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
        os.utime(self._path(path), ns=times)
        return 0


if __name__ == "__main__":
    seen, place, options = sys.argv[1:]
    disturbed = Disturbed(Path(seen).resolve(), **json.loads(options))
    mfusepy.FUSE(disturbed, place, foreground=True, fsname="campaign")
