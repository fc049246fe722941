import hashlib
import json
import sys
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from torchvision.models import alexnet

import measure_replication as replication_command
from synthgap.config.replication import Replication
from synthgap.data.shards import Sample, ShardWriter
from synthgap.errors import UserError
from synthgap.metrics.measures import read_measures
from synthgap.metrics.perceptual import Perceptual
from synthgap.metrics.replication import Nearest, measure_replication, nearest_images
from synthgap.metrics.similarity import ssim


def images(n, side=32, seed=0):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (n, side // 8, side // 8, 3), dtype=np.uint8)
    noise = rng.integers(0, 20, (n, side, side, 3), dtype=np.uint8)
    return np.minimum(coarse.repeat(8, 1).repeat(8, 2), 235) + noise


TRAINING = images(20, seed=1)
GENERATED = np.concatenate([TRAINING[[4, 11]] // 2 * 2, images(7, seed=2)])


def write_shard(tar, pixels, prefix):
    with ShardWriter(tar, "png") as writer:
        for index, image in enumerate(pixels):
            writer.add(Sample(f"{prefix}{index:03d}", 0, "thing"), image)
    return tar


def write_folder(folder, pixels):
    folder.mkdir(parents=True)
    for index, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f"{index:03d}.png")
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    with torch.device("meta"):
        shapes = alexnet(weights=None).features.state_dict()
    path = tmp_path_factory.mktemp("weights") / "alexnet.pth"
    state = {f"features.{k}": 0.05 * torch.randn(v.shape) for k, v in shapes.items()}
    torch.save(state, path)
    return path


@pytest.fixture
def shards(tmp_path):
    real = [
        write_shard(tmp_path / "real" / f"{n:05d}.tar", TRAINING[10 * n :][:10], f"real-{n}-")
        for n in range(2)
    ]
    return real, [write_shard(tmp_path / "made" / "00000.tar", GENERATED, "made-")]


def run(monkeypatch, real, generated, *words):
    options = ["--real", *real, "--generated", *generated, "--gpus", 0, "--threads", 1, *words]
    monkeypatch.setattr(sys, "argv", [replication_command.__file__, *map(str, options)])
    replication_command.main(replication_command.options().parse_args())


def by_hand(weights):
    similarity = np.stack([ssim(np.broadcast_to(x, TRAINING.shape), TRAINING) for x in GENERATED])
    perceptual = Perceptual("alex", weights)
    a, b = perceptual.embed(GENERATED), perceptual.embed(TRAINING)
    return similarity, np.stack([np.square(x - b).sum(1) for x in a])


def test_measures_the_nearest_of_shards(monkeypatch, shards, weights, tmp_path):
    out, table = tmp_path / "out.json", tmp_path / "nearest.parquet"
    about = json.dumps({"study": "casd"})
    run(
        monkeypatch, *shards, "--weights", weights, "--nearest", table, "--output", out,
        "--about", about, "--scratch", tmp_path / "scratch",
    )  # fmt: skip
    similarity, distance = by_hand(weights)
    content = json.loads(out.read_text())
    assert content["ssim_nearest"] == pytest.approx(similarity.max(1).mean(), abs=1e-12)
    assert content["lpips_nearest"] == pytest.approx(distance.min(1).mean(), rel=1e-5)
    measures, said = read_measures(out)
    assert said == {"study": "casd"}
    assert [m.metric for m in measures] == ["lpips_alex_nearest", "ssim_gaussian_rgb_nearest"]
    for measure in measures:
        assert measure.low < measure.value < measure.high
        assert measure.n == len(GENERATED)
        assert measure.settings["training_images"] == len(TRAINING)
        assert measure.settings["image_size"] == [32, 32]
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert measures[0].settings["weights"] == digest
    rows = pq.read_table(table).to_pydict()
    assert list(rows) == ["key", "nearest_lpips_key", "lpips", "nearest_ssim_key", "ssim"]
    keys = [f"real-{n // 10}-{n % 10:03d}" for n in range(20)]
    assert rows["key"] == [f"made-{n:03d}" for n in range(len(GENERATED))]
    assert rows["nearest_ssim_key"] == [keys[i] for i in similarity.argmax(1)]
    assert rows["nearest_lpips_key"] == [keys[i] for i in distance.argmin(1)]
    assert rows["nearest_ssim_key"][:2] == rows["nearest_lpips_key"][:2] == [keys[4], keys[11]]


def test_folders_and_foreign_tars_give_the_same(monkeypatch, shards, weights, tmp_path):
    folder = write_folder(tmp_path / "folder" / "class", TRAINING).parent
    tar = tmp_path / "foreign.tar"
    with tarfile.open(tar, "w") as file:
        made = write_folder(tmp_path / "made-folder", GENERATED)
        for path in sorted(made.iterdir()):
            file.add(path, path.name)
    given = ("--weights", weights, "--output")
    run(monkeypatch, *shards, *given, tmp_path / "a.json")
    run(monkeypatch, [folder], [tar], *given, tmp_path / "b.json")
    a, b = (read_measures(tmp_path / f"{name}.json")[0] for name in "ab")
    assert a == b


def test_takes_the_first_images_that_are_asked_for(monkeypatch, shards, tmp_path):
    words = ("--metrics", "ssim", "--samples", 3, "--training-samples", 12, "--output")
    run(monkeypatch, *shards, *words, tmp_path / "out.json")
    expected = nearest_images(GENERATED[:3], TRAINING[:12])["ssim"].value
    [measure] = read_measures(tmp_path / "out.json")[0]
    assert (measure.value, measure.n) == (expected.mean(), 3)
    assert measure.settings["training_images"] == 12
    with pytest.raises(UserError, match="20 images, and 21 are asked for"):
        run(monkeypatch, *shards, *words, tmp_path / "x.json", "--training-samples", 21)
    with pytest.raises(UserError, match="at least 1"):
        run(monkeypatch, *shards, *words, tmp_path / "x.json", "--samples", 0)


class KilledError(Exception):
    pass


@pytest.mark.parametrize("at", [0, 1, 2, 4])
def test_a_killed_job_goes_on_and_ends_in_the_same(monkeypatch, shards, weights, tmp_path, at):
    monkeypatch.setattr(replication_command, "BLOCK", 4)

    def words(name):
        return (
            "--weights", weights, "--batch-size", 2, "--scratch", tmp_path / f"scratch-{name}",
            "--output", tmp_path / f"{name}.json", "--nearest", tmp_path / f"{name}.parquet",
        )  # fmt: skip

    run(monkeypatch, *shards, *words("whole"))
    kept, keep = [], replication_command.Blocks.keep

    def killing(self, part, *found):
        if len(kept) == at:
            raise KilledError
        keep(self, part, *found)
        kept.append((self.name, part.start))

    with monkeypatch.context() as patch:
        patch.setattr(replication_command.Blocks, "keep", killing)
        with pytest.raises(KilledError):
            run(monkeypatch, *shards, *words("killed"))
    assert not (tmp_path / "killed.json").exists()
    again = []

    def counting(self, part, *found):
        again.append((self.name, part.start))
        keep(self, part, *found)

    with monkeypatch.context() as patch:
        patch.setattr(replication_command.Blocks, "keep", counting)
        run(monkeypatch, *shards, *words("killed"))
    every = [(name, start) for name in ("lpips", "ssim") for start in (0, 4, 8)]
    assert kept + again == every
    a, b = (read_measures(tmp_path / f"{name}.json") for name in ("whole", "killed"))
    assert a == b
    tables = [pq.read_table(tmp_path / f"{name}.parquet") for name in ("whole", "killed")]
    assert tables[0].equals(tables[1])


def test_warns_of_images_on_both_sides(monkeypatch, shards, tmp_path, caplog):
    real, generated = shards
    words = ("--metrics", "ssim", "--output", tmp_path / "out.json")
    run(monkeypatch, real, generated, *words)
    assert "pixel by pixel" not in caplog.text
    mixed = write_shard(
        tmp_path / "mixed" / "00000.tar", np.concatenate([GENERATED, TRAINING[3:6]]), "made-"
    )
    run(monkeypatch, real, [mixed], *words)
    assert "3 of 12 generated images are training images, pixel by pixel" in caplog.text
    assert json.loads((tmp_path / "out.json").read_text())["facts"]["copied_images"] == 3


def test_bad_input_is_told_in_a_line(monkeypatch, shards, weights, tmp_path):
    real, generated = shards
    out = ("--output", tmp_path / "out.json")
    ssim_only = (*out, "--metrics", "ssim")
    with pytest.raises(UserError, match="lpips needs --weights"):
        run(monkeypatch, real, generated, *out)
    small = write_folder(tmp_path / "small", images(3, side=24))
    with pytest.raises(UserError, match=r"training images have \(32, 32\) pixels"):
        run(monkeypatch, real, [small], *ssim_only)
    with pytest.raises(UserError, match="has 24 x 24 pixels and those before it 32 x 32"):
        run(monkeypatch, [*real, small], generated, *ssim_only)
    with pytest.raises(UserError, match="too small for alex"):
        run(monkeypatch, [small], [small], *out, "--weights", weights)
    run(monkeypatch, [small], [small], *out, "--weights", weights, "--resize", 32)
    named = [measure.metric for measure in read_measures(tmp_path / "out.json")[0]]
    assert named == ["lpips_alex_resize32_nearest", "ssim_gaussian_rgb_nearest"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no images in"):
        run(monkeypatch, real, [tmp_path / "empty"], *ssim_only)
    (small / "bad.png").write_bytes(b"\x89PNG no more")
    with pytest.raises(UserError, match=r"bad\.png is damaged: image bad"):
        run(monkeypatch, [small], [small], *ssim_only)
    (tmp_path / "bad.tar").write_bytes(b"no tar" * 1000)
    with pytest.raises(UserError, match="is no folder, no tar, or damaged"):
        run(monkeypatch, [tmp_path / "bad.tar"], generated, *ssim_only)
    with real[1].open("ab") as file:
        file.truncate(5000)
    with pytest.raises(UserError, match="is damaged: it has 5000 bytes"):
        run(monkeypatch, real, generated, *ssim_only)
    real[1].with_suffix(".parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match="parquet is damaged"):
        run(monkeypatch, real, generated, *ssim_only)


def test_images_are_found_from_python_too(weights):
    perceptual = Perceptual("alex", weights)
    found = nearest_images(GENERATED, TRAINING, perceptual, batch_size=4)
    similarity, distance = by_hand(weights)
    np.testing.assert_array_equal(found["ssim"].index, similarity.argmax(1))
    np.testing.assert_array_equal(found["lpips"].index, distance.argmin(1))
    measures = measure_replication(found, len(TRAINING), {"view": "rgb"})
    assert [measure.name for measure in measures] == ["lpips_nearest", "ssim_nearest"]
    assert measures[0].settings["view"] == "rgb"
    with pytest.raises(UserError, match="nothing measured"):
        measure_replication({}, 3)
    bad = Nearest("ssim", np.zeros(2, np.int64), np.array([0.5, np.nan]))
    with pytest.raises(UserError, match="NaN"):
        measure_replication({"ssim": bad}, 3)
    with pytest.raises(UserError, match="batch size"):
        nearest_images(GENERATED, TRAINING, perceptual, batch_size=0)


def test_config_is_closed_and_names_what_is_downloaded():
    section = Replication()
    assert section.weight_file is not None
    assert section.weight_file.name == "alexnet-owt-7be5be79.pth"
    assert section.weight_file.url.endswith("/models/alexnet-owt-7be5be79.pth")
    assert section.weight_file.sha256 == "7be5be79"
    assert Replication(network="vgg").weight_file.sha256 == "397923af"
    assert Replication(weights="my/alexnet.pth").weight_file is None
    assert Replication(metrics=["ssim"]).weight_file is None
    told = section.options()
    assert told["batch_size"] == 64
    assert "threads" not in told
    assert "weights" not in told
    for bad in ({"metric": ["ssim"]}, {"metrics": []}, {"resize": 30}, {"samples": 0}):
        with pytest.raises(ValidationError):
            Replication(**bad)
    assert Replication(network="vgg", resize=16).resize == 16


def test_only_images_that_were_learnt_from_are_searched(monkeypatch, shards, tmp_path):
    """Those of a choice, and not the first ones."""
    real, generated = shards
    chosen, output = tmp_path / "chosen.parquet", tmp_path / "metrics.json"
    keys = ["0-real-0-004", "0-real-1-001", "1-x"]
    columns = {"key": keys, "source_label": pa.array([0, 0, 1], pa.int32())}
    pq.write_table(pa.table(columns), chosen)
    words = ["--metrics", "ssim", "--trained-on", chosen, "--training-samples", 1]
    nearest = tmp_path / "nearest.parquet"
    run(monkeypatch, real, generated, *words, "--output", output, "--nearest", nearest)
    [measure], _ = read_measures(output)
    assert measure.settings["training_images"] == 2
    assert set(pq.read_table(nearest)["nearest_ssim_key"].to_pylist()) <= {
        "real-0-004",
        "real-1-001",
    }
    columns["key"][1] = "0-real-9-999"
    pq.write_table(pa.table(columns), chosen)
    with pytest.raises(UserError, match="1 chosen images are not there, real-9-999 say"):
        run(monkeypatch, real, generated, *words, "--output", output)
