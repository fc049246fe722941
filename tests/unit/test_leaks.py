"""What files tell without their pictures: the classic false result is caught."""

import io
import json

import numpy as np
import pytest
from PIL import Image

import check_leaks
from synthgap.data.comparisons import compare
from synthgap.data.shards import Manifest, Sample, ShardWriter, gather, write_manifest
from synthgap.metrics.leaks import block_edges, file_facts, mismatch, shares
from synthgap.metrics.measures import read_measures
from synthgap.metrics.predictions import Predictions


def pictures(count, side=32, seed=0):
    """Smooth noise: random low frequencies, at random places."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (count, 9, 9, 3), np.uint8)
    large = [Image.fromarray(s).resize((2 * side, 2 * side), Image.BICUBIC) for s in small]
    corners = rng.integers(0, side, (count, 2)).tolist()
    return [
        np.asarray(image.crop((x, y, x + side, y + side)))
        for image, (x, y) in zip(large, corners, strict=True)
    ]


def encoded(image, codec, **options):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, codec, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("codec", "options", "label"),
    [
        ("PNG", {}, "png 32 x 32 RGB"),
        ("WEBP", {"lossless": True}, "webp lossless 32 x 32 RGB"),
        ("WEBP", {"quality": 50}, "webp lossy 4:2:0 32 x 32 RGB"),
        ("JPEG", {"subsampling": 2}, "jpeg 4:2:0 32 x 32 RGB tables"),
        ("JPEG", {"subsampling": 0}, "jpeg 4:4:4 32 x 32 RGB tables"),
    ],
)
def test_headers_tell_codec_chroma_and_size(codec, options, label):
    assert file_facts(encoded(pictures(1)[0], codec, **options)).label.startswith(label)


def test_quantisation_tables_tell_qualities_apart():
    one, other = (file_facts(encoded(pictures(1)[0], "JPEG", quality=q)) for q in (75, 90))
    assert one.quantisation != other.quantisation
    assert one == file_facts(encoded(pictures(2)[1], "JPEG", quality=75))


def test_mismatch_is_the_distance_of_shares():
    png, jpeg = (file_facts(encoded(pictures(1)[0], codec)) for codec in ("PNG", "JPEG"))
    assert mismatch([[png] * 9, [png] * 9]) == (0.0, 1.0)
    distance, chance = mismatch([[png] * 40, [png] * 10 + [jpeg] * 30])
    assert distance == 0.75
    assert chance < 1e-6
    # A rare kind of file on one side alone may be chance.
    assert mismatch([[png] * 100, [png] * 99 + [jpeg]])[1] > 0.1
    assert mismatch([[png] * 8, [jpeg] * 8, [png] * 8])[0] == 1.0
    assert list(shares([png] * 3 + [jpeg]).values()) == [0.75, 0.25]


def test_block_edges_see_jpeg_in_lossless_files():
    images = np.stack(pictures(40, 64))
    again = np.stack(
        [np.asarray(Image.open(io.BytesIO(encoded(i, "JPEG", quality=20)))) for i in images]
    )
    assert block_edges(images).mean() == pytest.approx(1, abs=0.05)
    assert block_edges(again).mean() > 1.3
    assert (block_edges(np.zeros((2, 16, 16, 3), np.uint8)) == 1).all()
    # A shifted grid is no grid of the images' own scale.
    assert block_edges(again[:, 4:-4, 4:-4]).mean() < block_edges(again).mean() - 0.3


def comparison(folder, codecs, count=60):
    """The same pictures on both sides, each in its codec; manifests of all splits."""
    paths = []
    for split, seed in [("train", 0), ("val", 2), ("test", 1)]:
        sources = []
        for name, codec in codecs.items():
            where = folder / name / split
            with ShardWriter(where / "00000.tar", codec) as writer:
                for i, image in enumerate(pictures(count, seed=seed)):
                    writer.add(Sample(f"{i:03d}", 0, "all"), image)
            gather([where / "00000.tar"], where / "manifest.parquet")
            sources.append((name, Manifest(where / "manifest.parquet")))
        path = folder / split / "manifest.parquet"
        path.parent.mkdir()
        write_manifest(path, *compare(sources, count, 0, path.parent))
        paths.append(path)
    return paths


def checked(tmp_path, codecs):
    train, val, test = comparison(tmp_path, codecs)
    return check(tmp_path, train, val, test)


def check(tmp_path, train, val, test):
    out = {"measures": tmp_path / "leaks.json"}
    out |= {name: tmp_path / f"{name}.parquet" for name in ("headers", "metadata")}
    words = ["--train", train, "--val", val, "--test", test, "--name", "a+b", "--seed", 0]
    words += ["--about", json.dumps({"study": "leaks"}), "--log", tmp_path / "log"]
    for name, path in out.items():
        words += [f"--{name}", path]
    check_leaks.main(check_leaks.options().parse_args([str(word) for word in words]))
    measures, about = read_measures(out["measures"])
    assert about == {"study": "leaks"}
    accuracy = {
        name: Predictions(out[name]).of("a+b")["correct"].to_numpy().mean()
        for name in ("headers", "metadata")
    }
    return {m.metric: m for m in measures}, accuracy


def test_the_same_images_in_two_codecs_are_caught(tmp_path, caplog):
    measures, accuracy = checked(tmp_path, {"a": "png", "b": "jpeg"})
    found = measures["file_mismatch"]
    assert found.value == 1
    assert found.settings["leak"]
    assert next(iter(found.settings["files"]["b"])).startswith("jpeg")
    assert "a leak: a and b differ in their files" in caplog.text
    # And a classifier that never sees a pixel has them all.
    assert accuracy == {"headers": 1, "metadata": 1}


def test_the_same_images_in_one_codec_are_no_leak(tmp_path, caplog):
    measures, accuracy = checked(tmp_path, {"a": "png", "b": "png"})
    found = measures["file_mismatch"]
    assert (found.value, found.settings["leak"], found.settings["chance"]) == (0, False, 1.0)
    assert "a leak:" not in caplog.text
    # The files are the same, byte for byte, and that is said.
    assert measures["share_of_several_sources"].value == 1
    assert "share_of_several_sources: 100.00 % of images" in caplog.text
    assert accuracy == {"headers": 0.5, "metadata": 0.5}
    assert measures["block_edge_ratio"].value == pytest.approx(1, abs=0.1)


def test_images_that_come_again_are_counted(tmp_path, caplog):
    train, val, test = comparison(tmp_path, {"a": "png", "b": "jpeg"})
    measures, _ = check(tmp_path, train, val, test)
    assert measures["share_seen_in_training"].value == 0
    assert measures["share_of_several_sources"].value == 0
    assert "of images" not in caplog.text
    # A quarter of the test images, all of one source, were trained on.
    rows, seen = Manifest(test).table.to_pylist(), Manifest(train).table.to_pylist()
    for row, other in zip(rows[:30], seen, strict=False):
        row.update({name: other[name] for name in ("sha256", "shard", "offset", "length")})
    # And two images of the other source are the first one's, too.
    for row, other in zip(rows[60:62], rows, strict=False):
        row.update({name: other[name] for name in ("sha256", "shard", "offset", "length")})
    table = Manifest(test).table
    write_manifest(test, table.from_pylist(rows, table.schema), Manifest(test).classes)
    measures, _ = check(tmp_path, train, val, test)
    assert measures["share_seen_in_training"].value == pytest.approx(32 / 120)
    assert measures["share_of_several_sources"].value == pytest.approx(6 / 360)
    assert "share_seen_in_training: 26.67 % of images" in caplog.text


def test_a_sure_classifier_of_files_is_calibrated_like_others(tmp_path):
    train, val, test = comparison(tmp_path, {"a": "png", "b": "jpeg"})
    check(tmp_path, train, val, test)
    told = Predictions(tmp_path / "headers.parquet").of("a+b")["log_likelihood"].to_numpy()
    # Never wrong on 120 validation images: one answer in 122 is doubted.
    assert np.exp(told) == pytest.approx(1 - 1 / 244, abs=1e-3)
