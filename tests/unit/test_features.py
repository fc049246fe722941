"""Feature files, the cache by content, and the command that fills both."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import extract_features
import tiny_encoders
from synthgap.classifiers.architectures import build_seeded
from synthgap.classifiers.evaluation import About, save
from synthgap.data.encoded import is_shard
from synthgap.data.features import FeatureCache, Features, FeatureWriter, stored, write_features
from synthgap.data.shards import Sample, ShardWriter, tar_members
from synthgap.encoders import make_encoder
from synthgap.errors import UserError

SCRIPT = Path(__file__).parents[2] / "workflow" / "scripts" / "extract_features.py"
IDENTITY = {"family": "made-up", "weights": "00"}
DRAWN = np.random.default_rng(0)
VALUES = DRAWN.standard_normal((2500, 6)).astype(np.float32)
KEYS = [f"k{number:04d}" for number in range(2500)]
DIGESTS = [f"{number:064x}" for number in range(2500)]
CLASSES = [(number % 3, f"class {number % 3}") for number in range(2500)]


def write(path, rows=slice(None), values=VALUES, identity=IDENTITY):
    write_features(path, KEYS[rows], CLASSES[rows], DIGESTS[rows], values[rows], identity)
    return path


def foreign(path, lists, keys=None, kind=None, **columns):
    keys = keys or [f"f{number}" for number in range(len(lists))]
    column = pa.array(lists, kind or pa.list_(pa.float64()))
    pq.write_table(pa.table({"key": keys, "features": column} | columns), path)
    return path


@pytest.mark.parametrize("store", ["float32", "float16"])
def test_shards_become_one_array_in_order(tmp_path, store):
    values = VALUES.astype(store)
    first = write(tmp_path / "a.parquet", slice(0, 1500), values)
    second = write(tmp_path / "b.parquet", slice(1500, None), values)
    assert pq.read_schema(first).field("features").type.list_size == 6
    with Features([first, second]) as features:
        assert isinstance(features.values, np.memmap)
        assert features.values.dtype == store
        np.testing.assert_array_equal(features.values, values)
        assert features.keys == KEYS
        assert features.class_indices.tolist() == [index for index, _ in CLASSES]
        assert features.class_names == {0: "class 0", 1: "class 1", 2: "class 2"}
        assert features.identity == IDENTITY
        assert len(features) == 2500
    with Features([first, second], samples=1700, folder=tmp_path / "raw") as features:
        np.testing.assert_array_equal(features.values, values[:1700])
        # Mapped, but without a name that a kill would leave behind.
        assert not list((tmp_path / "raw").iterdir())


@pytest.mark.parametrize(
    "kind",
    [pa.list_(pa.float64()), pa.large_list(pa.float32()), pa.list_(pa.float32(), 2),
     pa.list_(pa.float16(), 2)],
)  # fmt: skip
def test_files_of_others_will_do(tmp_path, kind):
    lists = np.asarray([[1.0, 2], [3, 4], [5, 6]], kind.value_type.to_pandas_dtype())
    path = foreign(tmp_path / "f.parquet", list(lists), kind=kind)
    with Features([path], samples=2) as features:
        assert features.values.tolist() == [[1, 2], [3, 4]]
        assert features.values.dtype == kind.value_type.to_pandas_dtype()
        assert (features.class_indices, features.identity) == (None, None)


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ([[1.0, 2], [3, float("nan")]], r"f\.parquet: NaN or infinite features of 1 images.* f1"),
        ([[1.0, 2], [float("inf"), 1], [1, None]], "infinite features of 2 images, the first f1"),
        ([[1.0, 2], [3]], r"f\.parquet: f1 has 1 features and the others 2"),
        ([[1.0, 2], None], "f1 has 0 features"),
        ([], "there are no features"),
    ],
)
def test_features_that_are_no_array_of_numbers_are_refused(tmp_path, lists, message):
    with pytest.raises(UserError, match=message):
        Features([foreign(tmp_path / "f.parquet", lists)])


def test_files_that_are_no_features_are_refused(tmp_path):
    path = tmp_path / "f.parquet"
    pq.write_table(pa.table({"key": ["a"], "feature": [[1.0]]}), path)
    with pytest.raises(UserError, match="no column `features`; it has key, feature"):
        Features([path])
    foreign(path, [[1], [2]], kind=pa.list_(pa.int64()))
    with pytest.raises(UserError, match="must be lists of floating-point numbers, not list<"):
        Features([path])
    foreign(path, [[1.0], [2.0]], keys=["a", "a"])
    with pytest.raises(UserError, match="the key a comes twice"):
        Features([path])
    foreign(path, [[1.0], [2.0]], keys=["a", None])
    with pytest.raises(UserError, match="`key` must be a text in every row"):
        Features([path])
    path.write_bytes(b"PAR1 not")
    with pytest.raises(UserError, match="is no parquet file"):
        Features([path])
    with pytest.raises(UserError, match="no such file"):
        Features([tmp_path / "none.parquet"])
    with pytest.raises(UserError, match="there are no features"):
        Features([])


def test_shards_must_be_of_one_encoder(tmp_path):
    one = write(tmp_path / "a.parquet", slice(0, 9))
    with pytest.raises(UserError, match=r"a\.parquet: 9 images, and 10 are asked for"):
        Features([one], samples=10)
    other = write(tmp_path / "b.parquet", slice(9, 12), identity={"family": "other"})
    with pytest.raises(UserError, match=r"b\.parquet is of another encoder than .*a\.parquet"):
        Features([one, other])
    narrow = write(tmp_path / "c.parquet", slice(9, 12), VALUES[:, :4])
    with pytest.raises(UserError, match=r"c\.parquet: features of 4 numbers in float32, and befor"):
        Features([one, narrow])
    with pytest.raises(UserError, match="the key k0000 comes twice"):
        Features([one, one])


def test_what_cannot_be_stored_is_refused_and_leaves_nothing(tmp_path):
    path = tmp_path / "f.parquet"
    bad = VALUES[:3].copy()
    bad[1, 2] = np.nan
    with pytest.raises(UserError, match="NaN or infinite features of 1 images, the first k0001"):
        write(path, slice(0, 3), bad)
    with pytest.raises(UserError, match="there are no features to write"), FeatureWriter(path, {}):
        pass
    with pytest.raises(UserError, match="float16 ends at 65504, and a feature is 70000"):
        stored(np.full((1, 2), 70000, np.float32), "float16")
    assert not list(tmp_path.iterdir())


def test_the_cache_knows_features_by_content(tmp_path):
    cache = FeatureCache(tmp_path, IDENTITY)
    assert cache.get(DIGESTS[:4]) is None
    cache.put(DIGESTS[:4], VALUES[:4])
    np.testing.assert_array_equal(
        FeatureCache(tmp_path, dict(IDENTITY)).get(DIGESTS[:4]), VALUES[:4]
    )
    for other in (FeatureCache(tmp_path, IDENTITY, "float16"), FeatureCache(tmp_path, {})):
        assert other.get(DIGESTS[:4]) is None
    assert cache.get(DIGESTS[:3]) is None
    assert cache.get(DIGESTS[3::-1]) is None
    [path] = tmp_path.glob("*/*")
    content = bytearray(path.read_bytes())
    for damage in (content[:-5], b"", content[:150] + b"?" + content[151:]):
        path.write_bytes(damage)
        assert cache.get(DIGESTS[:4]) is None
        cache.put(DIGESTS[:4], VALUES[:4])
        np.testing.assert_array_equal(cache.get(DIGESTS[:4]), VALUES[:4])
    assert list(tmp_path.glob("*/*")) == [path]


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """Two shards and a small encoder."""
    folder, rng = tmp_path_factory.mktemp("job"), np.random.default_rng(1)
    tars = [folder / f"{number:05d}.tar" for number in range(2)]
    for number, tar in enumerate(tars):
        with ShardWriter(tar, "png") as shard:
            for index in range(23):
                image = rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)
                shard.add(Sample(f"s{number}-{index:02d}", index % 3, f"c{index % 3}"), image)
            shard.add_failed(Sample(f"s{number}-x", 0, "c0"), "unreadable")
    spec = {
        "family": "clip", "image_size": 28, "interpolation": "bicubic", "crop": 1.0,
        "mean": [0.5] * 3, "std": [0.5] * 3, "batch_size": 4,
    }  # fmt: skip
    return tars, spec, tiny_encoders.clip(folder / "clip")


def options(job, out, **more):
    tars, spec, model = job
    told = {"encoder": json.dumps(spec), "model": model, "threads": 1, "gpus": 0, "features": out}
    words = ["--images", *map(str, tars)]
    for name, value in (told | more).items():
        words += [f"--{name}", str(value)]
    return words


def extract(job, out, **more):
    """Run the command in this process."""
    extract_features.main(extract_features.options().parse_args(options(job, out, **more)))
    return out.read_bytes()


def test_the_command_writes_the_encoders_features_in_shard_order(job, tmp_path, monkeypatch):
    monkeypatch.setattr(extract_features, "CHUNK", 5)
    tars, spec, model = job
    extract(job, tmp_path / "f.parquet")
    encoder = make_encoder(spec, model=model)
    with Features([tmp_path / "f.parquet"]) as features:
        assert features.keys == [f"s{n}-{i:02d}" for n in range(2) for i in range(23)]
        assert features.class_indices.tolist() == [i % 3 for i in range(23)] * 2
        assert features.identity == encoder.identity
        content = tar_members(tars[1])["s1-07.png"]
        image = extract_features.decode(content)
        np.testing.assert_allclose(features.values[30], encoder.encode([image])[0], atol=1e-5)
    digests = pq.read_table(tmp_path / "f.parquet")["sha256"].to_pylist()
    assert digests[30] == extract_features.hashlib.sha256(content).hexdigest()
    told = json.loads((tmp_path / "f.json").read_text())
    assert (told["images"], told["cached"], told["identity"]) == (46, 0, encoder.identity)


def test_unchanged_images_are_encoded_once_whatever_their_path(job, tmp_path, monkeypatch):
    monkeypatch.setattr(extract_features, "CHUNK", 5)
    tars, spec, model = job
    first = extract(job, tmp_path / "a.parquet", cache=tmp_path / "cache")
    moved = [tar.rename(tar.with_name(f"moved-{tar.name}")) for tar in tars]
    for old, new in zip(tars, moved, strict=True):
        new.with_suffix(".parquet").write_bytes(old.with_suffix(".parquet").read_bytes())
    again = extract((moved, spec, model), tmp_path / "b.parquet", cache=tmp_path / "cache")
    assert again == first == extract((moved, spec, model), tmp_path / "c.parquet")
    assert json.loads((tmp_path / "b.json").read_text())["cached"] == 46
    half = spec | {"store": "float16"}
    extract((moved, half, model), tmp_path / "d.parquet", cache=tmp_path / "cache")
    assert json.loads((tmp_path / "d.json").read_text())["cached"] == 0
    for old, new in zip(tars, moved, strict=True):
        new.rename(old)


def test_a_killed_command_ends_in_the_same_bytes(job, tmp_path):
    """Two processes: one killed after its first chunk, one that goes on."""
    architecture = {
        "family": "bagnet", "receptive_field": 9, "options": {
            "layers": [1, 1], "strides": [2, 2], "kernel3": [1, 1], "width": 4}
    }  # fmt: skip
    save(build_seeded(architecture, 3, 0), About(architecture, ["a", "b", "c"]), tmp_path / "model")
    job = (job[0], {"family": "classifier"}, tmp_path / "model")
    slow = tmp_path / "slow.py"
    # The command itself with small chunks and, in the first run, an encoder that then waits.
    slow.write_text(
        "import os, sys, time\n"
        f"sys.path.insert(0, {str(SCRIPT.parent)!r})\n"
        "import extract_features as command\n"
        "command.CHUNK, put = 5, command.FeatureCache.put\n"
        "def wait(self, *args):\n"
        "    put(self, *args)\n"
        "    time.sleep(60 * int(os.environ['WAIT']))\n"
        "command.FeatureCache.put = wait\n"
        "command.run(command.options(), command.main)\n"
    )
    out, cache = tmp_path / "f.parquet", tmp_path / "cache"
    words = [sys.executable, str(slow), *options(job, out, cache=cache)]
    first = os.environ | {"WAIT": "1"}
    with subprocess.Popen(words, env=first, stderr=subprocess.PIPE) as process:
        until = time.monotonic() + 60
        while not list(cache.glob("*/*.features")) and time.monotonic() < until:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    assert not out.exists()
    done = subprocess.run(words, env=os.environ | {"WAIT": "0"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "5 of 46 images were in the cache" in done.stderr
    extract_features.CHUNK, whole = 5, extract_features.CHUNK
    try:
        assert extract(job, tmp_path / "undisturbed.parquet") == out.read_bytes()
    finally:
        extract_features.CHUNK = whole


def test_a_mistake_is_told_in_one_line(job, tmp_path):
    _, spec, model = job
    with ShardWriter(tmp_path / "none.tar", "png") as shard:
        shard.add_failed(Sample("a", 0, "c"), "unreadable")
    with pytest.raises(UserError, match="there are no features to write"):
        extract(([tmp_path / "none.tar"], spec, model), tmp_path / "f.parquet")
    with ShardWriter(tmp_path / "bad.tar", "png") as shard:
        shard.add_encoded(Sample("a", 0, "c"), b"\x89PNG no")
    with pytest.raises(UserError, match=r"bad\.tar: a is damaged, or no image"):
        extract(([tmp_path / "bad.tar"], spec, model), tmp_path / "f.parquet")
    assert not (tmp_path / "f.parquet").exists()


def test_a_shard_keeps_its_own_rows(tmp_path):
    tar = tmp_path / "00000.tar"
    with ShardWriter(tar, "png") as shard:
        shard.add(Sample("a", 0, "owl"), np.zeros((8, 8, 3), np.uint8))
    words = ["--images", tar, "--features", tar.with_suffix(".parquet"), "--model", tmp_path]
    words += ["--encoder", '{"family": "classifier"}', "--threads", 1]
    with pytest.raises(UserError, match="is where a shard has its own rows"):
        extract_features.main(extract_features.options().parse_args(list(map(str, words))))
    assert is_shard(tar)
    # Features beside somebody's tar make it no shard of ours.
    write_features(tmp_path / "b.parquet", ["k"], [(0, "owl")], ["d"], np.ones((1, 2), "f4"), {})
    assert not is_shard(tmp_path / "b.tar")


def test_a_kill_while_features_are_read_leaves_nothing(tmp_path, monkeypatch):
    path, folder = write(tmp_path / "f.parquet", slice(0, 3), VALUES[:3]), tmp_path / "raw"
    read, seen = Features._read, []

    def look(self, *given):
        read(self, *given)
        seen.extend(folder.iterdir())

    monkeypatch.setattr(Features, "_read", look)
    with Features([path], folder=folder) as features:
        np.testing.assert_array_equal(features.values, VALUES[:3])
    assert seen == []
