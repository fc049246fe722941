"""Shards: what is written is read, whole or not at all."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import webdataset

from synthgap.data.images import decode
from synthgap.data.shards import (
    ImageReader,
    Manifest,
    Sample,
    ShardWriter,
    gather,
    read_rows,
    read_shard,
    tar_members,
)
from synthgap.errors import UserError


def images(n, side=8, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, side, side, 3), dtype=np.uint8)


def samples(n, start=0):
    names = ("zero", "one")
    return [
        Sample(f"{i % 2:04d}-{i:06d}", i % 2, names[i % 2], f"{names[i % 2]}, dim", 7 + i, {"i": i})
        for i in range(start, start + n)
    ]


def write(tar, pictures, start=0):
    with ShardWriter(tar, "png") as shard:
        for sample, picture in zip(samples(len(pictures), start), pictures, strict=True):
            shard.add(sample, picture)
        shard.facts = {"images": len(pictures)}
    return tar


def test_samples_come_back(tmp_path):
    pictures = images(5)
    tar = write(tmp_path / "00000.tar", pictures)
    found = [(s, c) for batch in read_shard(tar, batch=2) for s, c in zip(*batch, strict=True)]
    assert [sample for sample, _ in found] == samples(5)
    assert np.array_equal(np.stack([decode(content) for _, content in found]), pictures)
    assert json.loads(tar.with_suffix(".json").read_text()) == {"images": 5}


def test_webdataset_reads_our_tars(tmp_path):
    pictures = images(3)
    tar = write(tmp_path / "00000.tar", pictures)
    dataset = webdataset.WebDataset(str(tar), shardshuffle=False).decode("rgb8")
    found = list(dataset)
    assert [sample["__key__"] for sample in found] == [sample.key for sample in samples(3)]
    assert np.array_equal(np.stack([sample["png"] for sample in found]), pictures)
    assert [sample["cls"] for sample in found] == [0, 1, 0]
    assert found[1]["txt"] == "one, dim"
    assert found[1]["json"]["seed"] == 8


def test_same_samples_give_the_same_bytes(tmp_path):
    a, b = (write(tmp_path / name / "00000.tar", images(4)) for name in ("a", "b"))
    assert a.read_bytes() == b.read_bytes()
    assert a.with_suffix(".parquet").read_bytes() == b.with_suffix(".parquet").read_bytes()


def test_offsets_point_at_the_images(tmp_path):
    tar = write(tmp_path / "00000.tar", images(3))
    content, members = tar.read_bytes(), tar_members(tar)
    for row in read_rows(tar).to_pylist():
        image = content[row["offset"] : row["offset"] + row["length"]]
        assert image == members[f"{row['key']}.png"]


def test_error_leaves_nothing_visible(tmp_path):
    def fail():
        with ShardWriter(tmp_path / "00000.tar", "png") as shard:
            shard.add(samples(1)[0], images(1)[0])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_manifest_gathers_shards_in_order(tmp_path):
    pictures = images(7)
    tars = [
        write(tmp_path / "00000.tar", pictures[:4]),
        write(tmp_path / "00001.tar", pictures[4:], start=4),
    ]
    gather(tars, tmp_path / "manifest.parquet")
    manifest = Manifest(tmp_path / "manifest.parquet")
    assert manifest.classes == ["zero", "one"]
    assert manifest.class_indices.tolist() == [0, 1, 0, 1, 0, 1, 0]
    assert np.array_equal(manifest.images(), pictures)
    assert np.array_equal(manifest.images([6, 0]), pictures[[6, 0]])


def test_failed_samples_are_counted_and_left_out(tmp_path):
    with ShardWriter(tmp_path / "00000.tar", "png") as shard:
        shard.add(samples(1)[0], images(1)[0])
        shard.add_failed(samples(2)[1], "unreadable cat.jpg")
    with pytest.raises(UserError, match=r"1 samples failed.*unreadable cat\.jpg"):
        gather([shard.tar], tmp_path / "manifest.parquet")
    assert not (tmp_path / "manifest.parquet").exists()
    gather([shard.tar], tmp_path / "manifest.parquet", max_failed=1)
    assert len(Manifest(tmp_path / "manifest.parquet")) == 1
    assert pq.read_table(shard.tar.with_suffix(".parquet")).num_rows == 2


def test_damaged_tars_are_named(tmp_path):
    tar = write(tmp_path / "00000.tar", images(3))
    gather([tar], tmp_path / "manifest.parquet")
    tar.write_bytes(tar.read_bytes()[:-1500])
    with pytest.raises(UserError, match=r"00000\.tar is damaged: it has \d+ bytes"):
        read_rows(tar)
    tar.write_bytes(tar.read_bytes()[:600])
    with pytest.raises(UserError, match=r"00000\.tar is cut short"):
        Manifest(tmp_path / "manifest.parquet").images()
    tar.unlink()
    with pytest.raises(UserError, match="it has 0 bytes"):
        read_rows(tar)


def test_images_of_two_sizes_are_refused(tmp_path):
    tars = [
        write(tmp_path / "0.tar", images(2, side=8)),
        write(tmp_path / "1.tar", images(2, side=9)),
    ]
    gather(tars, tmp_path / "manifest.parquet")
    with pytest.raises(UserError, match="different sizes"):
        Manifest(tmp_path / "manifest.parquet").images()


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_reader_keeps_few_files_open(tmp_path, monkeypatch):
    monkeypatch.setattr(ImageReader, "MOST_OPEN", 3)
    tars = [tmp_path / f"{number}.tar" for number in range(8)]
    for number, tar in enumerate(tars):
        tar.write_bytes(bytes([number]) * 4)
    before = open_files()
    with ImageReader() as reader:
        for number in [*range(8), 0, 7, 3]:
            assert reader.read_bytes(tars[number], 1, 2, None) == bytes([number]) * 2
        assert open_files() - before == 3
    assert open_files() == before


def test_another_image_of_the_same_length_is_refused(tmp_path):
    tar = write(tmp_path / "00000.tar", images(2))
    row = read_rows(tar).to_pylist()[1]
    with tar.open("rb+") as file:
        file.seek(row["offset"] + row["length"] // 2)
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte[0] ^ 1]))
    with pytest.raises(UserError, match=r"00000.tar is damaged: the image at byte"):
        list(read_shard(tar))
