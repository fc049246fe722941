"""Image files, tars and names that nobody should have, through the commands of real images."""

import io
import json
import os
import random
import struct
import tarfile
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from campaign.forked import Ended, listing, run_command
from campaign.rows import OPEN, REFUSED, RIGHT

SIDE = 16
PLAIN = {
    "dataset": "imagefolder",
    "folder": "photos",
    "class_names": {},
    "val_fraction": 0.2,
    "test_fraction": 0.2,
    "image_size": SIDE,
    "image_format": "png",
    "max_unreadable": 0,
}
# What every reader of these trials needs at most: Pillow refuses more than 358 million pixels,
# which are four bytes each, and a conversion needs them twice.
MEGABYTES = 4000
SPLITS = ("test", "train", "val")

Found = tuple[str, str, str]


def _picture(rng: random.Random, size: tuple[int, int] = (20, 14)) -> Image.Image:
    pixels = np.frombuffer(rng.randbytes(size[0] * size[1] * 3), np.uint8)
    return Image.fromarray(pixels.reshape(size[1], size[0], 3))


def _encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def prepared(
    work: Path, options: dict[str, Any], splits: tuple[str, ...] = SPLITS
) -> tuple[Ended, list[dict[str, Any]]]:
    """Index and prepare as the rules do, until a command fails; also return the shards' rows."""
    given = json.dumps(options)
    index = work / "results" / "real" / "index.parquet"
    ended = run_command(
        "index_real",
        ["--dataset", given, "--seed", 0, "--index", index, "--log", work / "results/logs/index"],
        work,
        megabytes=MEGABYTES,
    )
    rows: list[dict[str, Any]] = []
    tars = []
    for split in splits:
        if ended.status or ended.late:
            return ended, rows
        tar = work / "results" / "images" / "real" / split / "00000.tar"
        ended = run_command(
            "prepare_real",
            ["--index", index, "--dataset", given, "--split", split, "--shard", 0, "--shards", 1,
             "--tar", tar, "--log", work / "results/logs" / split],
            work,
            megabytes=MEGABYTES,
        )  # fmt: skip
        if not ended.status and not ended.late:
            rows += pq.read_table(tar.with_suffix(".parquet")).to_pylist()
            tars.append(tar)
    if tars and not ended.status and not ended.late:
        ended = run_command(
            "gather_shards",
            ["--tars", tars[0], "--max-failed", options["max_unreadable"], "--manifest",
             tars[0].with_name("manifest.parquet"), "--log", work / "results/logs/gather"],
            work,
        )  # fmt: skip
    return ended, rows


def _judged(
    work: Path, before: str, ended: Ended, wrong: str = "", may: tuple[str, ...] = (RIGHT, REFUSED)
) -> str:
    """Return the outcome, also by what lies beside the results."""
    outcome = ended.outcome(wrong)
    if listing(work.parent, ("work/results",)) != before:
        return "DEFECT wrote outside the results"
    if not outcome.startswith("DEFECT") and outcome not in may:
        return f"DEFECT {outcome}, and not {' or '.join(may)}: {ended.error[:200]}"
    return outcome


def _class_folders(work: Path, rng: random.Random, names: tuple[str, ...] = ("cat", "dog")) -> None:
    for name in names:
        for number in range(5):
            path = work / "photos" / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(_encoded(_picture(rng), "PNG"))


# Images.


def image_trial(rng: random.Random, number: int, folder: Path) -> Found:
    """One odd file among ten good images."""
    work = folder / "work"
    work.mkdir()
    (folder / "canary").write_text("untouched")
    _class_folders(work, rng)
    kind = rng.choice(list(_IMAGES))
    path = work / "photos" / "cat" / "2.png"
    path.unlink()
    given, may = _IMAGES[kind](rng, path)
    dataset = rng.choice(["imagefolder", "imagefolder", "parquet", "webdataset"])
    options = dict(PLAIN)
    if (
        path.is_file()
        and not path.is_symlink()
        and path.stat().st_size
        and dataset != "imagefolder"
    ):
        options |= _packed(work, dataset)
    else:
        dataset = "imagefolder"
    options["max_unreadable"] = rng.choice([0, 1])
    before = listing(folder, ("work/results",))
    ended, rows = prepared(work, options)
    wrong = ""
    if not ended.status and len(rows) != 10:
        wrong = f"{len(rows)} rows of 10 images"
    failed = sum(row["status"] != "ok" for row in rows)
    if not ended.status and failed > options["max_unreadable"]:
        wrong = f"{failed} failed"
    outcome = _judged(work, before, ended, wrong)
    if " lines: " in outcome and "TIFF" in given and ended.lines[-1].startswith("error: "):
        return f"{kind}, {dataset}", given, f"{OPEN}: a line of the library that decodes TIFF"
    if outcome in (RIGHT, REFUSED) and may:
        read = not failed and outcome == RIGHT
        if read != (may == RIGHT):
            told = ended.error or [row["status"] for row in rows if row["status"] != "ok"]
            outcome = f"DEFECT {'read' if read else 'not read'}, and should be {may}: {told}"
    return f"{kind}, {dataset}", given, outcome


def _packed(work: Path, dataset: str) -> dict[str, Any]:
    """Put the images of the class folders into a parquet file or a tar instead."""
    found = sorted((work / "photos").glob("*/*.png"))
    contents = [path.read_bytes() for path in found]
    labels = [int(path.parent.name == "dog") for path in found]
    packed = work / "packed"
    packed.mkdir()
    if dataset == "parquet":
        import pyarrow as pa

        images = [{"bytes": content, "path": "x"} for content in contents]
        pq.write_table(pa.table({"image": images, "label": labels}), packed / "a.parquet")
    else:
        with tarfile.open(packed / "a.tar", "w") as tar:
            for number, (content, label) in enumerate(zip(contents, labels, strict=True)):
                _add(tar, f"{number}.png", content)
                _add(tar, f"{number}.cls", str(label).encode())
    return {"dataset": dataset, "folder": "packed"}


def _add(tar: tarfile.TarFile, name: str, content: bytes, **changes: Any) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in changes.items():
        setattr(info, key, value)
    tar.addfile(info, io.BytesIO(content))


def _chunk(kind: bytes, content: bytes) -> bytes:
    crc = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)


def _png(width: int, height: int, more: bytes = b"", pixels: bytes = b"\0" * 100) -> bytes:
    head = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    data = _chunk(b"IDAT", zlib.compress(pixels))
    return b"\x89PNG\r\n\x1a\n" + head + more + data + _chunk(b"IEND", b"")


def _mutated(rng: random.Random, path: Path) -> tuple[str, str]:
    kind = rng.choice(["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "ICO", "JPEG2000"])
    options: dict[str, Any] = {}
    if kind in ("JPEG", "WEBP", "PNG") and rng.random() < 0.5:
        exif = Image.Exif()
        exif[0x0112], exif[0x010E] = rng.randrange(9), "x" * rng.randrange(50)
        options["exif"] = exif
    if kind == "TIFF":
        options["compression"] = rng.choice([None, "tiff_lzw", "tiff_deflate", "packbits", "jpeg"])
    content = bytearray(_encoded(_picture(rng), kind, **options))
    changes = rng.choice([1, 3, 30])
    reach = rng.choice([64, len(content)])
    for _ in range(changes):
        content[rng.randrange(min(reach, len(content)))] = rng.randrange(256)
    path.write_bytes(content)
    return f"{kind}, {changes} bytes", ""


def _truncated(rng: random.Random, path: Path) -> tuple[str, str]:
    kind = rng.choice(["PNG", "JPEG", "WEBP", "GIF", "TIFF"])
    content = _encoded(_picture(rng), kind)
    cut = rng.randrange(1, len(content) * 3 // 4)
    path.write_bytes(content[:cut])
    return f"{kind}, {cut} of {len(content)} bytes", REFUSED


def _bomb(rng: random.Random, path: Path) -> tuple[str, str]:
    bombs: dict[str, Callable[[], bytes]] = {
        "PNG of 60000 x 60000": lambda: _png(60000, 60000),
        "PNG of 2^31 x 2^31": lambda: _png(2**31 - 1, 2**31 - 1),
        "PNG of 0 x 0": lambda: _png(0, 0),
        "PNG of 18000 x 18000, cut": lambda: _png(18000, 18000),
        "PNG of 13000 x 13000, all black": lambda: _png(
            13000, 13000, pixels=b"\0" * (13000 * 3 + 1) * 13000
        ),
        "PNG of 60000 x 1": lambda: _png(60000, 1, pixels=b"\0" * 180001),
        "PNG with a text of 200 MB": lambda: _png(
            4, 4, _chunk(b"zTXt", b"a\0\0" + zlib.compress(b"x" * 200_000_000)), b"\0" * 52
        ),
        "PNG with a profile of 200 MB": lambda: _png(
            4, 4, _chunk(b"iCCP", b"a\0\0" + zlib.compress(b"x" * 200_000_000)), b"\0" * 52
        ),
        "PNG with a chunk of 2 GB": lambda: _png(4, 4, b"\x7f\xff\xff\xfftEXtabc"),
        "APNG of a million frames": lambda: _png(
            4, 4, _chunk(b"acTL", struct.pack(">II", 10**6, 0)), b"\0" * 52
        ),
        "GIF of 65535 x 65535": lambda: b"GIF89a\xff\xff\xff\xff\x80\0\0" + b"\0" * 6 + b",",
        "BMP of 65000 x 65000": lambda: b"BM" + struct.pack(
            "<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 65000, 65000, 1, 24, 0, 0, 0, 0, 0, 0
        ),
        "PPM of 99999 x 99999": lambda: b"P6 99999 99999 255\n" + bytes(100),
        "WebP of 9000 x 9000": lambda: _webp_bomb(),
        "TIFF with a huge strip": lambda: _tiff_bomb(),
        "ICO of itself": lambda: b"\0\0\1\0\1\0\0\0\0\0\1\0\x20\0\xff\xff\xff\x7f\x16\0\0\0",
    }  # fmt: skip
    kind = rng.choice(list(bombs))
    path.write_bytes(bombs[kind]())
    return kind, ""


@cache
def _webp_bomb() -> bytes:
    return _encoded(Image.new("RGB", (9000, 9000)), "WEBP", quality=0, method=0)


def _tiff_bomb() -> bytes:
    tags = [(256, 4, 50000), (257, 4, 50000), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8),
            (277, 3, 1), (278, 4, 50000), (279, 4, 2_500_000_000)]  # fmt: skip
    body = struct.pack("<H", len(tags))
    body += b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return b"II*\0\x08\0\0\0" + body + bytes(4)


def _mode(rng: random.Random, path: Path) -> tuple[str, str]:
    """An image of any mode, in any format that takes it."""
    mode = rng.choice(["1", "L", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F",
                       "LA", "RGBX", "RGBa", "La", "I;16", "I;16B", "I;16L"])  # fmt: skip
    taken = {}
    size = rng.choice([(20, 14), (1, 1), (1, 300), (3, 2)])
    try:
        image = _picture(rng, size).convert(mode)
    except ValueError:
        try:
            image = Image.new(mode, size)
        except (ValueError, KeyError):
            image = Image.new("L", size)
    for kind in ("PNG", "TIFF", "JPEG", "WEBP", "GIF", "BMP", "PPM", "JPEG2000", "ICO", "PDF",
                 "EPS", "PCX", "SGI", "TGA", "IM", "MSP", "XBM", "DDS", "SPIDER", "AVIF", "DIB",
                 "ICNS", "MPO", "BLP", "QOI"):  # fmt: skip
        try:
            taken[kind] = _encoded(image, kind)
        except (OSError, ValueError, KeyError, SystemError, TypeError, AttributeError):
            continue
    if not taken:  # no format holds this mode
        return _deep(rng, path)
    kind = rng.choice(list(taken))
    path.write_bytes(taken[kind])
    wanted = RIGHT if kind in ("PNG", "JPEG", "WEBP") else ""
    return f"{kind} of mode {mode}, {size}", wanted


def _deep(rng: random.Random, path: Path) -> tuple[str, str]:
    """PNGs of any bit depth and colour type, interlaced or not, written by hand."""
    depth, colour = rng.choice(
        [(d, 0) for d in (1, 2, 4, 8, 16)] + [(d, 3) for d in (1, 2, 4, 8)]
        + [(d, c) for d in (8, 16) for c in (2, 4, 6)] + [(5, 0), (16, 3), (8, 7)]
    )  # fmt: skip
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(colour, 1)
    width, height = rng.randrange(1, 20), rng.randrange(1, 20)
    line = (width * channels * depth + 7) // 8
    pixels = b"".join(b"\0" + bytes(rng.choice([0, 255]) for _ in range(line))
                      for _ in range(height))  # fmt: skip
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    palette = _chunk(b"PLTE", rng.randbytes(3 * min(256, 1 << depth))) if colour == 3 else b""
    if colour in (0, 2, 3) and rng.random() < 0.4:
        palette += _chunk(b"tRNS", rng.randbytes({0: 2, 2: 6, 3: 2}[colour]))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + palette
                     + _chunk(b"IDAT", zlib.compress(pixels)) + _chunk(b"IEND", b""))  # fmt: skip
    wanted = REFUSED if (depth, colour) in ((5, 0), (16, 3), (8, 7)) else RIGHT
    return f"depth {depth}, colour type {colour}", wanted


def _rubbish(rng: random.Random, path: Path) -> tuple[str, str]:
    """Bytes behind the mark of any format that Pillow knows, and of none."""
    marks = [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"RIFF\x10\0\0\0WEBPVP8 ", b"GIF89a",
             b"II*\0", b"MM\0*", b"BM", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
             b"\xd7\xcd\xc6\x9a\0\0", b"SIMPLE  =", b"8BPS\0\1", b"\x0e\x03\x13\x01", b"GRIB",
             b"\x89HDF\r\n\x1a\n", b"DDS ", b"BLP2", b"\x00\x00\x00\x20ftypavif", b"FORM", b"\x01\xda",
             b"\0\0\1\0", b"icns", b"qoif", b"P6\n", b"\x0a\x05\x01\x08", b"#define x_width 9\n",
             b"/* XPM */", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", b"BUFR", b"%PDF-1.4"]  # fmt: skip
    mark = rng.choice(marks)
    size = rng.choice([0, 10, 1000, 100_000])
    path.write_bytes(mark + rng.randbytes(size))
    return f"{mark[:12]!r} and {size} random bytes", REFUSED


def _postscript(rng: random.Random, path: Path) -> tuple[str, str]:
    """A program that an image library might have run by another one."""
    canary = path.parents[3] / "ran"
    programs = [
        "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"
        f"({canary}) (w) file closefile\nshowpage\n",
        f'<svg xmlns="http://www.w3.org/2000/svg"><image href="file://{canary}"/></svg>',
        f"push graphic-context\nviewbox 0 0 9 9\nimage over 0,0 0,0 '|touch {canary}'\n",
    ]
    chosen = rng.randrange(len(programs))
    path.write_text(programs[chosen])
    return ("PostScript", "SVG", "MVG")[chosen], REFUSED


def _not_a_file(rng: random.Random, path: Path) -> tuple[str, str]:
    kind = rng.choice(["folder", "dangling link", "/dev/zero", "/dev/urandom", "FIFO", "socket",
                       "link in a circle", "link outside", "empty", "no permission",
                       "folder in a circle", "link to a folder", "/proc/kmsg"])  # fmt: skip
    if kind == "folder":
        path.mkdir()
    elif kind == "dangling link":
        path.symlink_to("nowhere")
    elif kind in ("/dev/zero", "/dev/urandom", "/proc/kmsg"):
        path.symlink_to(kind)
    elif kind == "FIFO":
        os.mkfifo(path)
    elif kind == "socket":
        import socket

        here = Path.cwd()
        os.chdir(path.parent)  # a socket's name is short
        socket.socket(socket.AF_UNIX).bind(path.name)
        os.chdir(here)
    elif kind == "link in a circle":
        path.symlink_to(path.name)
    elif kind == "link outside":
        path.symlink_to(path.parents[3] / "canary")
    elif kind == "empty":
        path.touch()
    elif kind == "no permission":
        path.write_bytes(_encoded(_picture(rng), "PNG"))
        path.chmod(0)
        return kind, ""
    elif kind == "folder in a circle":
        path.write_bytes(_encoded(_picture(rng), "PNG"))
        (path.parent / "loop").symlink_to(path.parent)
        return kind, RIGHT
    else:
        path.symlink_to(path.parent)
    return kind, REFUSED


def _good(rng: random.Random, path: Path) -> tuple[str, str]:
    """Right images that look odd: other formats by that name, EXIF, animations, extreme shapes."""
    image = _picture(rng, rng.choice([(20, 14), (1, 1), (2000, 1), (1, 2000), (5, 5)]))
    kind = rng.choice(["JPEG called PNG", "animated WebP", "animated GIF", "APNG", "EXIF turned",
                       "bad EXIF", "grey JPEG", "CMYK JPEG", "progressive JPEG",
                       "bytes behind the end"])  # fmt: skip
    content = {
        "JPEG called PNG": lambda: _encoded(image, "JPEG"),
        "animated WebP": lambda: _encoded(image, "WEBP", save_all=True, append_images=[image] * 3),
        "animated GIF": lambda: _encoded(image, "GIF", save_all=True, append_images=[image] * 3),
        "APNG": lambda: _encoded(image, "PNG", save_all=True, append_images=[image] * 3),
        "EXIF turned": lambda: _encoded(image, "JPEG", exif=_exif(rng.randrange(20))),
        "bad EXIF": lambda: _encoded(
            image,
            rng.choice(["JPEG", "PNG", "WEBP"]),
            exif=b"Exif\0\0"
            + rng.choice([b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08", b""])
            + rng.randbytes(rng.randrange(60)),
        ),
        "grey JPEG": lambda: _encoded(image.convert("L"), "JPEG"),
        "CMYK JPEG": lambda: _encoded(image.convert("CMYK"), "JPEG"),
        "progressive JPEG": lambda: _encoded(image, "JPEG", progressive=True),
        "bytes behind the end": lambda: _encoded(image, "PNG") + rng.randbytes(1000),
    }[kind]()
    path.write_bytes(content)
    return f"{kind}, {image.size}", RIGHT if kind != "bad EXIF" else ""


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


_IMAGES: dict[str, Callable[[random.Random, Path], tuple[str, str]]] = {
    "bytes mutated": _mutated,
    "more bytes mutated": _mutated,
    "truncated": _truncated,
    "bomb": _bomb,
    "mode": _mode,
    "bit depth": _deep,
    "rubbish": _rubbish,
    "a program": _postscript,
    "no file": _not_a_file,
    "odd and right": _good,
}

# Tars.


def tar_trial(rng: random.Random, number: int, folder: Path) -> Found:
    """A WebDataset tar of ten images, and something wrong with it."""
    work = folder / "work"
    (work / "tars").mkdir(parents=True)
    (folder / "canary").write_text("untouched")
    kind = rng.choice(list(_TARS))
    path = work / "tars" / "a.tar"
    may = _TARS[kind](rng, path)
    before = listing(folder, ("work/results",))
    options = PLAIN | {"dataset": "webdataset", "folder": "tars"}
    ended, rows = prepared(work, options)
    wrong = ""
    if not ended.status and not rows:
        wrong = "no rows"
    return kind, f"a tar, {kind}", _judged(work, before, ended, wrong, may)


def _whole(rng: random.Random, change: Callable[[tarfile.TarFile, int], None], **how: Any) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=how.pop("mode", "w"), **how) as tar:
        for number in range(10):
            change(tar, number)
            _add(tar, f"{number:03d}.png", _encoded(_picture(rng), "PNG"))
            _add(tar, f"{number:03d}.cls", str(number % 2).encode())
    return buffer.getvalue()


def _odd_members(rng: random.Random, path: Path) -> tuple[str, ...]:
    """Members with names and kinds that would write elsewhere if they were unpacked."""
    name = rng.choice(["../outside.png", "/tmp/outside.png", "a/../../b.png", ".", "..", "a" * 300,
                       "a\nb.png", "é.png", "x.png\0y", "-rf.png", "C:\\x.png", " ", "con.png"])  # fmt: skip
    kinds = {"file": tarfile.REGTYPE, "link": tarfile.SYMTYPE, "hard link": tarfile.LNKTYPE,
             "device": tarfile.CHRTYPE, "block device": tarfile.BLKTYPE, "FIFO": tarfile.FIFOTYPE,
             "folder": tarfile.DIRTYPE, "unknown": b"Z"}  # fmt: skip
    kind = rng.choice(list(kinds))
    image = _encoded(_picture(rng), "PNG")

    def change(tar: tarfile.TarFile, number: int) -> None:
        if number == 4:
            content = image if kind == "file" else b""
            target = rng.choice(["../canary", "/etc/passwd", "000.png", "nowhere"])
            _add(tar, name, content, type=kinds[kind], linkname=target)
            if rng.random() < 0.5 and name.endswith(".png"):
                _add(tar, name.replace(".png", ".cls"), b"1")

    path.write_bytes(_whole(rng, change))
    return RIGHT, REFUSED


def _odd_class(rng: random.Random, path: Path) -> tuple[str, ...]:
    content = rng.choice([b"", b"x", b"1.5", b"-1", b"9" * 30, b"9" * 5000, b" 1\n", b"\xff", b"1_0",
                          "٣".encode(), b"0" * 10_000_000])  # fmt: skip

    def change(tar: tarfile.TarFile, number: int) -> None:
        if number == 0:
            for i in range(5):
                _add(tar, f"x{i}.png", _encoded(_picture(rng), "PNG"))
                _add(tar, f"x{i}.cls", content)

    path.write_bytes(_whole(rng, change))
    return RIGHT, REFUSED


def _link_class(rng: random.Random, path: Path) -> tuple[str, ...]:
    """A class, or an image, that is a link, to itself even."""
    suffix = rng.choice(["cls", "png"])
    target = rng.choice([f"x.{suffix}", f"000.{suffix}", "nowhere", "../canary", "/dev/zero"])

    def change(tar: tarfile.TarFile, number: int) -> None:
        if number == 5:
            kind = rng.choice([tarfile.SYMTYPE, tarfile.LNKTYPE])
            _add(tar, f"x.{suffix}", b"", type=kind, linkname=target)
            if suffix == "png":
                _add(tar, "x.cls", b"1")
            else:
                _add(tar, "x.png", _encoded(_picture(rng), "PNG"))

    path.write_bytes(_whole(rng, change))
    return RIGHT, REFUSED


def _twice(rng: random.Random, path: Path) -> tuple[str, ...]:
    suffix = rng.choice(["png", "jpg", "cls"])

    def change(tar: tarfile.TarFile, number: int) -> None:
        if number == 5:
            _add(tar, f"000.{suffix}", b"1" if suffix == "cls" else _encoded(_picture(rng), "PNG"))

    path.write_bytes(_whole(rng, change))
    return (REFUSED,)


def _missing(rng: random.Random, path: Path) -> tuple[str, ...]:
    suffix = rng.choice(["png", "cls"])

    def change(tar: tarfile.TarFile, number: int) -> None:
        if number == 5:
            _add(tar, f"x.{suffix}", b"1" if suffix == "cls" else _encoded(_picture(rng), "PNG"))

    path.write_bytes(_whole(rng, change))
    return (RIGHT,) if suffix == "cls" else (REFUSED,)


def _headers(rng: random.Random, path: Path) -> tuple[str, ...]:
    how = rng.choice(
        [
            {"format": tarfile.PAX_FORMAT, "pax_headers": {"comment": "x" * 100_000}},
            {"format": tarfile.GNU_FORMAT},
            {"format": tarfile.USTAR_FORMAT},
            {"format": tarfile.PAX_FORMAT, "pax_headers": {"path": "../../outside"}},
            {"format": tarfile.PAX_FORMAT, "pax_headers": {"size": "99999999999"}},
        ]
    )
    odd = rng.choice([{"size": "-5"}, {"size": "x"}, {"mtime": "nan"}, {"path": "000.png"},
                      {"GNU.sparse.map": "0,99999999999"}, {"GNU.sparse.major": "1",
                      "GNU.sparse.minor": "0", "GNU.sparse.realsize": "99999999999"},
                      {"hdrcharset": "BINARY"}, {"linkpath": "../x"}])  # fmt: skip

    def change(tar: tarfile.TarFile, number: int) -> None:
        if number == 5 and how["format"] == tarfile.PAX_FORMAT:
            _add(tar, "x.png", _encoded(_picture(rng), "PNG"), pax_headers=odd)
            _add(tar, "x.cls", b"1")

    path.write_bytes(_whole(rng, change, **how))
    return RIGHT, REFUSED


def _damaged(rng: random.Random, path: Path) -> tuple[str, ...]:
    content = bytearray(_whole(rng, lambda tar, number: None))
    if rng.random() < 0.4:
        path.write_bytes(content[: rng.randrange(len(content))])
        return RIGHT, REFUSED
    for _ in range(rng.choice([1, 10, 100])):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)
    return RIGHT, REFUSED


def _compressed(rng: random.Random, path: Path) -> tuple[str, ...]:
    path.write_bytes(
        _whole(rng, lambda tar, number: None, mode=rng.choice(["w:gz", "w:bz2", "w:xz"]))
    )
    return (REFUSED,)


def _no_tar(rng: random.Random, path: Path) -> tuple[str, ...]:
    path.write_bytes(rng.choice([b"", b"\0" * 512, b"\0" * 10240, b"x" * 512, rng.randbytes(5000),
                                 b"PK\x03\x04" + rng.randbytes(500), b"\0" * 511]))  # fmt: skip
    return (REFUSED,)


def _huge(rng: random.Random, path: Path) -> tuple[str, ...]:
    """A header that promises gigabytes, which a hole in the file may even hold."""
    content = bytearray(_whole(rng, lambda tar, number: None))
    info = tarfile.TarInfo(rng.choice(["z.png", "z.cls"]))
    info.size = 8 << 30
    path.write_bytes(bytes(content[:-1024]).rstrip(b"\0") + b"")
    with path.open("wb") as file:
        end = len(content) // 10240 * 10240
        file.write(_whole(rng, lambda tar, number: None)[: end - 10240] or b"")
        file.write(info.tobuf())
        if rng.random() < 0.7:
            file.truncate(file.tell() + info.size + 1024)
    return (REFUSED,)


_TARS: dict[str, Callable[[random.Random, Path], tuple[str, ...]]] = {
    "odd members": _odd_members,
    "more odd members": _odd_members,
    "odd class": _odd_class,
    "links": _link_class,
    "a key twice": _twice,
    "missing member": _missing,
    "headers": _headers,
    "damaged": _damaged,
    "more damaged": _damaged,
    "compressed": _compressed,
    "no tar": _no_tar,
    "huge": _huge,
}

# Names.

NAMES: list[bytes] = [
    b"a b", b"it's", b'say "cat"', b"a\nb", b"a=b", b"{cat}", b"{}", b"{{", b"..cat", b"a\\b", b"-rf",
    b"--index", "🐱".encode(), "é".encode(), "e\u0301".encode(), b"\xff\xfe", b"n\xe4me", b"x" * 255,
    ("é" * 127).encode(), b"a\tb", b" cat", b"cat ", b"*", b"?", b"[a]", b"$HOME", b"`touch ran`",
    b"$(touch ran)", b";touch ran", b"a&b", b"a|b", b"<b>", b"%s%n", b"a:b", b"a,b", b"~", b"#x",
    b"\x01", b"\x7f", "\u202ecat".encode(), "\u2028".encode(), b"NUL", b"0", b"001", b"1e3", b"null",
    b"true", b"CON", b"real", b"train", b"test", b"@1", b"a+b", b"a@0.5r", b"con\r", b"\r\n",
]  # fmt: skip


def name_trial(rng: random.Random, number: int, folder: Path) -> Found:
    """Classes and files of any name; few classes; few images."""
    work = folder / "work"
    work.mkdir()
    (folder / "canary").write_text("untouched")
    photos = os.fsencode(work / "photos")
    os.mkdir(photos)
    kind = rng.choice(["class name", "class name", "file name", "file name", "case", "two classes",
                       "one class", "no class", "one image", "no folder", "a file", "class table",
                       "normalisation", "deep folders"])  # fmt: skip
    name = rng.choice(NAMES)
    good = _encoded(_picture(rng), "PNG")
    may: tuple[str, ...] = (RIGHT, REFUSED)
    folders: list[bytes] = [b"dog"]
    options: dict[str, Any] = dict(PLAIN)
    if kind == "class name":
        folders.append(name)
    elif kind == "case":
        folders += [b"Dog", b"DOG"]
    elif kind == "normalisation":
        folders += ["caf\u00e9".encode(), "cafe\u0301".encode()]
    elif kind == "no class":
        folders, may = [], (REFUSED,)
    elif kind == "class table":
        folders += [name]
        table = work / "classes.csv"
        quoted = name.replace(b'"', b'""')
        table.write_bytes(b'folder,name\n"%s",x\ndog,"%s"\n' % (quoted, quoted))
        options |= {"class_table": "classes.csv"}
    elif kind != "one class":
        folders.append(b"cat")
    for one in folders:
        os.mkdir(os.path.join(photos, one))
        for position in range(1 if kind == "one image" and one == b"cat" else 5):
            path = os.path.join(photos, one, b"%d.png" % position)
            if kind == "file name" and position == 2:
                path = os.path.join(photos, one, name[:251] + b".png")
            if kind == "deep folders" and position == 2:
                deep = os.path.join(photos, one, *[b"d" * 100] * 30)
                os.makedirs(deep)
                path = os.path.join(deep, b"x.png")
            with open(path, "wb") as file:
                file.write(good)
    if kind == "no folder":
        options["folder"], may = "elsewhere", (REFUSED,)
    elif kind == "a file":
        options["folder"], may = "../canary", (REFUSED,)
    elif kind == "one image":
        may = (REFUSED,)
    before = listing(folder, ("work/results",))
    ended, rows = prepared(work, options)
    wrong = ""
    if name == b"0" and kind == "file name":
        rows += [rows[0]] * len(folders)  # it is the name of another one
    if not ended.status and len(rows) != 5 * len(folders):
        wrong = f"{len(rows)} rows of {5 * len(folders)} images"
    elif not ended.status and len({row["class_name"] for row in rows}) != len(folders):
        wrong = "classes are lost"
    return kind, repr(name)[:60], _judged(work, before, ended, wrong, may)
