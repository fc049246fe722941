"""Images and tars that were made to harm: each is read or refused in one line, and no more."""

import io
import os
import struct
import subprocess
import sys
import tarfile
import zlib
from pathlib import Path

import pytest
from PIL import Image

from synthgap.data.images import decode, read_rgb
from synthgap.data.real import ImageFolder, open_dataset
from synthgap.errors import UserError


def picture(kind: str = "PNG") -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (6, 4), (200, 0, 0)).save(content, kind)
    return content.getvalue()


def test_what_is_no_plain_file_is_unreadable(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    for name in ("pipe.png", "folder.png", "zero.png"):
        with pytest.raises(OSError, match="no plain file"):
            ImageFolder(tmp_path, {}).load(name)


def test_no_program_is_run_for_an_image(tmp_path: Path) -> None:
    """Pillow would hand PostScript to Ghostscript, by whatever name it comes."""
    program = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
    (tmp_path / "x.png").write_bytes(program)
    with pytest.raises(OSError, match="no known image format"):
        read_rgb(tmp_path / "x.png")
    with pytest.raises(OSError, match="no known image format"):
        decode(program)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
def test_usual_formats_are_read_by_any_name(tmp_path: Path, kind: str) -> None:
    (tmp_path / "x.png").write_bytes(picture(kind))
    image = read_rgb(tmp_path / "x.png")
    assert (image.mode, image.size) == ("RGB", (6, 4))


def test_damage_is_told_once() -> None:
    """Pillow would write warnings to standard error, too."""
    code = "from synthgap.data.images import decode\ndecode(b'II*\\0' + bytes([8, 0, 0, 0, 5]))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.stderr.endswith("OSError: no known image format\n")
    assert "Warning" not in ended.stderr


def chunk(kind: bytes, content: bytes) -> bytes:
    crc = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + crc


def test_an_image_of_billions_of_pixels_is_unreadable() -> None:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0))
    with pytest.raises(OSError, match="exceeds limit"):
        decode(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(100))))
    jpeg = bytearray(picture("JPEG"))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", 65000, 65000)
    with pytest.raises(OSError, match="exceeds limit"):
        decode(bytes(jpeg))


@pytest.mark.parametrize("name", [b"n\xe4me/1.png", b"cat/n\xe4me.png"])
def test_names_in_another_encoding_are_refused_in_one_line(tmp_path: Path, name: bytes) -> None:
    path = Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name)))  # noqa: PTH118
    path.parent.mkdir()
    path.write_bytes(picture())
    with pytest.raises(UserError, match=r"n\\udce4me.* is not UTF-8"):
        list(ImageFolder(tmp_path, {}).entries())


def tar_of(folder: Path, *members: tuple[str, bytes, dict[str, object]]) -> str:
    with tarfile.open(folder / "a.tar", "w") as tar:
        for name, content, changes in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for key, value in changes.items():
                setattr(info, key, value)
            tar.addfile(info, io.BytesIO(content))
    return str(folder)


GOOD = ("a.png", picture(), {})


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([GOOD, ("a.cls", b"", {"type": tarfile.SYMTYPE, "linkname": "nowhere"})], "is a link"),
        ([GOOD, ("a.cls", b"", {"type": tarfile.SYMTYPE, "linkname": "a.cls"})], "is a link"),
        ([GOOD, ("a.cls", b"", {"type": tarfile.FIFOTYPE})], "is a link or another thing"),
        ([("a.png", b"", {"type": tarfile.LNKTYPE, "linkname": "b"})], "is a link"),
        ([GOOD, ("a.cls", b"1", {}), ("a.cls", b"2", {})], "a is there twice"),
        ([GOOD, ("a.cls", b"1" * 5000, {})], "a.cls has 5000 bytes"),
        ([("a\nb.png", picture(), {})], r"a\\nb has no \.cls file"),
        (
            [GOOD, ("b.png", b"x", {"pax_headers": {"GNU.sparse.map": "0,99999999999"}})],
            r"a\.tar",
        ),
    ],
)  # fmt: skip
def test_odd_members_are_refused_in_one_line(tmp_path: Path, members, said: str) -> None:
    folder = tar_of(tmp_path, *members)
    with pytest.raises(UserError, match=said) as caught:
        open_dataset({"dataset": "webdataset", "folder": folder}).entries()
    assert "\n" not in str(caught.value)


def test_an_image_of_gigabytes_in_a_tar_is_not_read(tmp_path: Path) -> None:
    folder = tar_of(tmp_path, GOOD, ("a.cls", b"1", {}))
    dataset = open_dataset({"dataset": "webdataset", "folder": folder})
    with pytest.raises(OSError, match="an image has"):
        dataset.load(f"a.tar:512+{8 << 30}")
