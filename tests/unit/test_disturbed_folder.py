"""The campaign's file system whose calls fail, and commands on it as on a network's."""

import errno
import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
from PIL import Image
from test_job import REAL, SCRIPTS, index

from campaign.study import ROOT
from synthgap.data.class_folders import list_images
from synthgap.data.class_tables import Classes
from synthgap.errors import UserError


@contextmanager
def seen(tmp_path, **options):
    """Yield a folder that is seen through such a file system, and what it says in the end."""
    folder, place, said = tmp_path / "folder", tmp_path / "place", []
    folder.mkdir()
    place.mkdir()
    command = [sys.executable, "-m", "campaign.disturbed_folder", folder, place]
    process = subprocess.Popen(
        [*command, json.dumps(options)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while process.poll() is None and not os.path.ismount(place):
        time.sleep(0.01)
    if process.poll() is not None:
        pytest.skip(f"no FUSE here: {process.stderr.read()[-200:]}")
    try:
        yield place, said
    finally:
        subprocess.run(["umount", "-l", place], check=True)
        said.append(process.communicate(timeout=60)[0])


def test_one_call_fails_and_what_is_under_it_is_a_folder_as_ever(tmp_path):
    with seen(tmp_path, call="write", at=2, errno=errno.EIO, delay=0.001) as (place, said):
        (place / "a").write_bytes(b"1")
        os.utime(place / "a", ns=(1, 1234567890123456789))
        with pytest.raises(OSError, match="Input/output error"):
            (place / "b").write_bytes(b"2")
        (place / "b").write_bytes(b"3")
        (place / "b").rename(place / "c")
        (place / "d").symlink_to("c")
        (place / "e").hardlink_to(place / "a")
        assert (place / "d").read_bytes() == b"3"
    assert said == ["/b\n"]
    folder = tmp_path / "folder"
    assert sorted(file.name for file in folder.iterdir()) == ["a", "c", "d", "e"]
    assert (folder / "a").stat().st_mtime_ns == 1234567890123456789
    assert (folder / "c").read_bytes() == b"3"


def photographs(folder):
    for name in ("cat/a", "cat/more/b", "cat/more/c", "dog/a", "dog/b", "dog/c"):
        path = folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(path)


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_folder_that_may_not_be_read_is_no_empty_one(at, tmp_path):
    with seen(tmp_path, call="readdir", at=at, errno=errno.EACCES) as (place, _):
        photographs(tmp_path / "folder")
        with pytest.raises(UserError, match=r"cannot be read: Permission denied"):
            list(list_images(place, Classes(None, {}), "real.folder"))
        found = [name for name, _ in list_images(place, Classes(None, {}), "real.folder")]
    assert len(found) == 6


def test_an_image_that_the_disk_does_not_give_is_not_left_out(tmp_path):
    """As one that is damaged would be, with `max_unreadable`."""
    settings = {"image_size": 8, "val_fraction": 0.2, "test_fraction": 0.2, "max_unreadable": 9}
    real = REAL | settings | {"dataset": "imagefolder", "folder": str(tmp_path / "place")}
    tar = tmp_path / "00000.tar"
    words = ["--split", "train", "--shard", "0", "--shards", "1", "--tar", tar]
    prepare = [
        sys.executable, SCRIPTS / "prepare_real.py", "--dataset", json.dumps(real),
        "--index", tmp_path / "index.parquet", *words,
    ]  # fmt: skip
    with seen(tmp_path, call="read", at=2, errno=errno.EIO, for_good=True) as (_, said):
        photographs(tmp_path / "folder")
        subprocess.run(index(tmp_path, real=real), check=True)
        done = subprocess.run(prepare, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == f"error: {said[0].split()[0][1:]} cannot be read: Input/output error\n"
    assert not tar.exists()


HOLDS = """
import numpy
from pathlib import Path
from synthgap.job import command, output_path, run
parser = command("")
parser.add_argument("--scratch", type=Path)
parser.add_argument("--done", type=output_path)
class Held: pass
def main(args):
    args.scratch.mkdir()
    held = Held()  # that only the collector of cycles lets go
    held.itself = held
    held.array = numpy.memmap(args.scratch / "a.pixels", "uint8", "w+", shape=1000)
    args.done.write_text("yes")
run(parser, main)
"""


def test_unfinished_work_that_is_still_mapped_fails_no_job(tmp_path):
    """Removing an open file leaves one of another name in its folder, as on a network's."""
    with seen(tmp_path) as (place, _):
        words = ["--scratch", place / "scratch", "--done", place / "done"]
        done = subprocess.run([sys.executable, "-c", HOLDS, *words], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "removed whole" not in done.stderr
        assert (place / "done").exists()
        assert not (place / "scratch").exists()
