"""A view of a whole shard, and the two commands that make one."""

import io
import json
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import derive_view
import estimate_depth
from synthgap.data.derive import derive_shard
from synthgap.data.images import encode
from synthgap.data.shards import (
    Manifest,
    Sample,
    ShardWriter,
    gather,
    image_of,
    read_shard,
    tar_members,
)
from synthgap.errors import UserError
from synthgap.progress import Progress
from synthgap.views import make_view
from tiny_depth import build

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (7, 32, 32, 3), dtype=np.uint8)
HIGH = {"kind": "high_pass", "half_width": 4, "mask": "rectangle", "encode": "offset"}
CROPS = {"kind": "random_crops", "size": 16, "count": 4}


def sample(index):
    return Sample(
        f"key-{index}", index % 3, f"class {index % 3}", "a prompt", index, {"was": index}
    )


@pytest.fixture
def shard(tmp_path):
    with ShardWriter(tmp_path / "rgb" / "00000.tar", "png") as writer:
        for index, image in enumerate(IMAGES):
            writer.add(sample(index), image)
        writer.add_failed(sample(99), "unreadable")
    return writer.tar


def derive(shard, folder, spec, batch_size=3, threads=1, codec="webp"):
    with ShardWriter(folder / "00000.tar", codec) as writer, Progress(7, "images") as bar:
        totals = derive_shard(
            [shard], writer, spec, make_view(spec), bar, batch_size=batch_size, threads=threads
        )
    return writer.tar, totals


def run(module, monkeypatch, *options):
    monkeypatch.setattr(sys, "argv", [module.__file__, *map(str, options)])
    module.main(module.options().parse_args())


def test_samples_keep_what_is_known_of_them(shard, tmp_path):
    tar, totals = derive(shard, tmp_path / "high", HIGH)
    [(samples, contents)] = read_shard(tar)
    assert len(samples) == 7
    expected = make_view(HIGH)(IMAGES, range(7))
    assert totals == expected.counts
    for index, (found, content) in enumerate(zip(samples, contents, strict=True)):
        before = sample(index)
        assert (found.key, found.class_index, found.class_name, found.prompt, found.seed) == (
            before.key, before.class_index, before.class_name, before.prompt, before.seed
        )  # fmt: skip
        assert found.details == {
            "was": index,
            "view": HIGH,
            "mask": "rectangle",
            "encode": "offset",
        }
        with Image.open(io.BytesIO(content)) as opened:
            assert opened.format == "WEBP"
            np.testing.assert_array_equal(np.asarray(opened), expected.images[index])


@pytest.mark.parametrize("spec", [HIGH, CROPS, {"kind": "patches", "size": 8}])
def test_batches_and_threads_change_no_byte(shard, tmp_path, spec):
    first, _ = derive(shard, tmp_path / "a", spec)
    for name, batch_size, threads in (("b", 7, 1), ("c", 1, 1), ("d", 2, 3), ("e", 64, 2)):
        other, _ = derive(shard, tmp_path / name, spec, batch_size, threads)
        assert other.read_bytes() == first.read_bytes()


def test_one_shard_of_a_view_can_be_of_several(shard, tmp_path):
    whole, _ = derive(shard, tmp_path / "whole", HIGH)
    for name, part in (("a", slice(0, 4)), ("b", slice(4, 7))):
        with ShardWriter(tmp_path / name / "00000.tar", "png") as writer:
            for index in range(7)[part]:
                writer.add(sample(index), IMAGES[index])
    parts = [tmp_path / name / "00000.tar" for name in "ab"]
    with ShardWriter(tmp_path / "both" / "0.tar", "webp") as writer, Progress(7, "images") as bar:
        derive_shard(parts, writer, HIGH, make_view(HIGH), bar, batch_size=3)
    assert writer.tar.read_bytes() == whole.read_bytes()


def test_several_crops_an_image_are_samples_of_their_own(shard, tmp_path):
    tar, _ = derive(shard, tmp_path / "crops", CROPS)
    gather([tar], tmp_path / "crops" / "manifest.parquet")
    manifest = Manifest(tmp_path / "crops" / "manifest.parquet")
    rows, images = manifest.table.to_pylist(), manifest.images()
    assert [row["key"] for row in rows[:5]] == [
        "key-0-0",
        "key-0-1",
        "key-0-2",
        "key-0-3",
        "key-1-0",
    ]
    assert len(rows) == 28
    for place, row in enumerate(rows):
        details = json.loads(row["details"])
        assert details["of"] == f"key-{place // 4}"
        assert details["copy"] == place % 4
        top, left, height, width = details["crop"]
        part = IMAGES[place // 4, top : top + height, left : left + width]
        np.testing.assert_array_equal(images[place], part)
        assert row["class_index"] == place // 4 % 3
        assert image_of(row["key"], row["details"]) == f"key-{place // 4}"
        assert image_of(f"1-{row['key']}", row["details"]) == f"1-key-{place // 4}"  # of a pair


@pytest.fixture
def threads_as_before():
    """Torch's threads are of the process, in which other tests follow."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads_as_before")
def test_depth_in_16_bits_is_read_as_8_by_others(shard, tmp_path, monkeypatch):
    model = build(tmp_path / "model")
    spec = {
        "kind": "depth", "estimator": "depth-anything", "input_size": 42, "bits": 16,
        "codec": "png", "batch_size": 4,
    }  # fmt: skip
    monkeypatch.setenv("SYNTHGAP_ON_CPU", "1")
    for threads in (1, 2):
        run(
            estimate_depth, monkeypatch,
            "--images", shard, "--view", json.dumps(spec), "--model", model,
            "--threads", threads, "--tar", tmp_path / f"depth-{threads}" / "00000.tar",
        )  # fmt: skip
    tars = [tmp_path / f"depth-{threads}" / "00000.tar" for threads in (1, 2)]
    maps = [np.asarray(Image.open(io.BytesIO(tar_members(tar)["key-6.png"]))) for tar in tars]
    assert maps[0].dtype == np.uint16
    assert maps[0].max() == 65535
    # Two threads may sum in another order.
    assert np.abs(maps[0].astype(int) - maps[1]).max() < 66
    facts = json.loads(tars[0].with_suffix(".json").read_text())
    assert facts["totals"] == {"constant_maps": 0, "clipped_values": 0}
    assert facts["device"] == "cpu"
    gather(tars[:1], tmp_path / "depth-1" / "manifest.parquet")
    read = Manifest(tmp_path / "depth-1" / "manifest.parquet").images()
    np.testing.assert_array_equal(read[6, :, :, 0], maps[0] >> 8)
    assert read.shape == (7, 32, 32, 3)


def test_the_command_stores_in_the_codec_of_the_view(shard, tmp_path, monkeypatch):
    for codec, suffix in (("webp", "webp"), ("png", "png")):
        tar = tmp_path / codec / "00000.tar"
        spec = json.dumps(HIGH | {"codec": codec})
        run(derive_view, monkeypatch, "--images", shard, "--view", spec, "--tar", tar)
        assert f"key-0.{suffix}" in tar_members(tar)
        assert pq.read_table(tar.with_suffix(".parquet")).num_rows == 7
        assert json.loads(tar.with_suffix(".json").read_text())["images"] == 7  # not the failed one


def write(folder, images):
    with ShardWriter(folder / "00000.tar", "png") as writer:
        for index, image in enumerate(images):
            content = image if isinstance(image, bytes) else encode(image, "png")
            writer.add_encoded(sample(index), content)
    return writer.tar


def test_an_image_of_another_size_is_named(tmp_path):
    images = [IMAGES[0], IMAGES[1], IMAGES[2, :20]]
    tar = write(tmp_path, images)
    said = r"key-2 has 32 x 20 px and key-0 32 x 32; a view needs"
    for batch_size, threads in ((1, 1), (3, 1), (1, 3), (2, 2)):
        with pytest.raises(UserError, match=said):
            derive(tar, tmp_path / "out", HIGH, batch_size, threads)
    assert not (tmp_path / "out" / "00000.tar").exists()


def test_a_truncated_image_is_named(tmp_path):
    tar = write(tmp_path, [IMAGES[0], encode(IMAGES[1], "png")[:300]])
    with pytest.raises(UserError, match=r"00000\.tar is damaged: key-1 is no image"):
        derive(tar, tmp_path / "out", HIGH)


@pytest.mark.parametrize(
    "spec",
    [
        {"kind": "center_crop", "size": 33},
        {"kind": "random_crops", "size": 33},
        {"kind": "patches", "size": 33},
    ],
)
def test_images_smaller_than_the_crop_are_named(shard, tmp_path, spec):
    with pytest.raises(UserError, match=r"00000\.tar: `(size|patch)` must be from 1 to 32 px"):
        derive(shard, tmp_path / "out", spec)


def test_grey_alpha_cmyk_16_bit_and_turned_images_are_seen_as_rgb(tmp_path):
    def saved(image, kind, **options):
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        return buffer.getvalue()

    picture, exif = Image.fromarray(IMAGES[0]), Image.Exif()
    exif[0x0112] = 3
    grey = picture.convert("L")
    contents = [
        saved(grey, "PNG"),
        saved(picture.convert("RGBA"), "PNG"),
        saved(picture.convert("CMYK"), "JPEG"),
        encode(np.asarray(grey).astype(np.uint16) << 8, "png"),
        saved(picture, "JPEG", exif=exif, quality=95, subsampling=0),
    ]
    tar, _ = derive(
        write(tmp_path, contents), tmp_path / "out", {"kind": "center_crop", "size": 32}
    )
    gather([tar], tmp_path / "out" / "manifest.parquet")
    views = Manifest(tmp_path / "out" / "manifest.parquet").images().astype(int)
    np.testing.assert_array_equal(views[0], np.repeat(np.asarray(grey)[..., None], 3, 2))
    np.testing.assert_array_equal(views[1], IMAGES[0])
    assert np.abs(views[2] - IMAGES[0]).mean() < 40  # noise in JPEG
    np.testing.assert_array_equal(views[3], views[0])
    assert np.abs(views[4][::-1, ::-1] - IMAGES[0]).mean() < 20
