"""Decoded images: the same from a file and from shards, within the room there is."""

import os
import shutil
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from synthgap.data import decoded
from synthgap.data.decoded import EncodedImages, centre, open_images, resize
from synthgap.data.shards import ImageReader, Manifest, Sample, ShardWriter, gather
from synthgap.errors import UserError


def make_manifest(folder: Path, images: list[np.ndarray]) -> Manifest:
    with ShardWriter(folder / "00000.tar", "png") as writer:
        for index, image in enumerate(images):
            writer.add(Sample(f"{index:03d}", 0, "all"), image)
    gather([folder / "00000.tar"], folder / "manifest.parquet")
    return Manifest(folder / "manifest.parquet")


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (150, 12, 12, 3)).astype(np.uint8)


@pytest.mark.parametrize("threads", [0, 3])
@pytest.mark.parametrize("size", [None, 8])
def test_a_file_of_pixels_holds_what_the_shards_do(tmp_path, images, threads, size):
    manifest = make_manifest(tmp_path, list(images))
    expected = images if size is None else np.stack([resize(image, size) for image in images])
    pool = ThreadPoolExecutor(threads) if threads else None
    found = open_images(manifest, tmp_path / "cache" / "train", size, pool)
    encoded = EncodedImages(manifest, size)
    assert isinstance(found, np.memmap)
    assert {p.name for p in (tmp_path / "cache").iterdir()} == {"train", ".train.sha256"}
    for one in (found, encoded):
        assert one.shape == expected.shape
        assert len(one) == 150
        np.testing.assert_array_equal(one[3], expected[3])
        np.testing.assert_array_equal(one[10:20], expected[10:20])
        np.testing.assert_array_equal(one[np.array([5, 2])], expected[[5, 2]])
    assert not found.flags.writeable


def test_the_middle_of_an_image_is_taken_before_it_is_resized(tmp_path, images):
    manifest = make_manifest(tmp_path, list(images[:4]))
    middle = images[:4, 2:10, 2:10]  # two thirds of 12 pixels
    resized = np.stack([resize(image, 6) for image in middle])
    for size, expected in ((None, middle), (8, middle), (6, resized)):
        mapped = open_images(manifest, tmp_path / str(size), size, share=2 / 3)
        for found in (mapped, EncodedImages(manifest, size, 2 / 3)):
            assert found.shape == expected.shape
            np.testing.assert_array_equal(found[:], expected)
    # As timm has it, the middle 224 of 256 pixels; and never nothing.
    assert centre(np.zeros((256, 256, 3), np.uint8), 0.875).shape == (224, 224, 3)
    assert centre(np.zeros((2, 3, 3), np.uint8), 0.1).shape == (1, 1, 3)


def test_resized_images_are_those_of_pil(images):
    expected = Image.fromarray(images[0]).resize((8, 8), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(resize(images[0], 8), np.asarray(expected))


def test_without_room_images_are_decoded_each_time(tmp_path, images, monkeypatch, caplog):
    caplog.set_level("INFO")
    manifest = make_manifest(tmp_path, list(images))
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(decoded.shutil, "disk_usage", lambda _: usage(10**9, 0, 2 * images.nbytes))
    assert isinstance(open_images(manifest, tmp_path / "a"), np.memmap)
    monkeypatch.setattr(
        decoded.shutil, "disk_usage", lambda _: usage(10**9, 0, 2 * images.nbytes - 1)
    )
    assert isinstance(open_images(manifest, tmp_path / "b"), EncodedImages)
    assert "decoding images anew in each epoch" in caplog.text
    assert not (tmp_path / "b").exists()


def test_a_decoding_that_was_cut_short_is_begun_anew(tmp_path, images, monkeypatch):
    manifest = make_manifest(tmp_path, list(images))
    monkeypatch.setattr(decoded.Progress, "update", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        open_images(manifest, tmp_path / "cache")
    monkeypatch.undo()
    assert not (tmp_path / "cache").exists()
    np.testing.assert_array_equal(open_images(manifest, tmp_path / "cache"), images)


@pytest.mark.parametrize("damage", ["a bit", "its end", "its digest"])
def test_a_damaged_file_of_pixels_is_made_again(tmp_path, images, damage, monkeypatch):
    manifest, cache = make_manifest(tmp_path, list(images)), tmp_path / "train"
    expected = np.array(open_images(manifest, cache))
    content = bytearray(cache.read_bytes())
    if damage == "its digest":  # killed before that was written
        (tmp_path / ".train.sha256").unlink()
    else:
        content[5000] ^= 1
        cache.write_bytes(content if damage == "a bit" else content[:-7])
    np.testing.assert_array_equal(open_images(manifest, cache), expected)
    monkeypatch.setattr(decoded, "_decode_all", pytest.fail)
    np.testing.assert_array_equal(open_images(manifest, cache), expected)


def test_images_of_different_sizes_are_refused(tmp_path, images):
    manifest = make_manifest(tmp_path, [*images[:3], np.zeros((10, 12, 3), np.uint8)])
    with pytest.raises(UserError, match="different sizes, 12 x 12 and 12 x 10"):
        open_images(manifest, tmp_path / "cache")


def test_an_empty_manifest_is_refused(tmp_path, images):
    manifest = make_manifest(tmp_path, list(images[:1]))
    manifest.table = manifest.table.slice(0, 0)
    with pytest.raises(UserError, match="has no images"):
        EncodedImages(manifest)


def test_a_damaged_shard_is_named(tmp_path, images):
    manifest = make_manifest(tmp_path, list(images))
    with (tmp_path / "00000.tar").open("r+b") as file:
        file.truncate(4000)
    with pytest.raises(UserError, match=r"00000\.tar is cut short"):
        open_images(manifest, tmp_path / "cache")


def test_threads_share_a_reader_that_keeps_few_files_open(tmp_path, images, monkeypatch):
    monkeypatch.setattr(ImageReader, "MOST_OPEN", 2)
    for shard in range(4):
        with ShardWriter(tmp_path / f"{shard:05d}.tar", "png") as writer:
            for index in range(30):
                number = 30 * shard + index
                writer.add(Sample(f"{number:03d}", 0, "all"), images[number])
    gather(sorted(tmp_path.glob("*.tar")), tmp_path / "manifest.parquet")
    encoded = EncodedImages(Manifest(tmp_path / "manifest.parquet"))
    order = np.random.default_rng(1).permutation(120).tolist() * 5
    with ThreadPoolExecutor(8) as pool:
        for number, found in zip(order, pool.map(encoded.__getitem__, order), strict=True):
            np.testing.assert_array_equal(found, images[number])
    shutil.rmtree(tmp_path)


def test_files_are_closed_with_the_images_that_were_read_from_them(tmp_path, images):
    def is_open(path):
        fds = [fd for fd in Path("/proc/self/fd").iterdir() if fd.is_symlink()]
        return str(path) in map(os.readlink, fds)

    encoded = EncodedImages(make_manifest(tmp_path, list(images)))
    np.testing.assert_array_equal(encoded[3], images[3])
    assert is_open(tmp_path / "00000.tar")
    del encoded
    assert not is_open(tmp_path / "00000.tar")
