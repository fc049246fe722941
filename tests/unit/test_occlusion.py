"""Occlusion maps: nets whose answer to a hidden square can be computed by hand."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.special import expit

import draw_occlusion
import map_occlusion
from synthgap.classifiers.architectures import build_seeded
from synthgap.classifiers.evaluation import DEVIATION, MEAN, About, save
from synthgap.classifiers.occlusion import (
    choose_rows,
    log_odds,
    mean_colour,
    occlude,
    positions,
)
from synthgap.data.occlusion_maps import OcclusionMaps, load_maps
from synthgap.data.shards import Manifest, Sample, ShardWriter, gather
from synthgap.errors import UserError
from synthgap.figures.occlusion import draw

SPEC = {
    "family": "bagnet",
    "receptive_field": 9,
    "options": {"layers": [1, 1], "strides": [2, 2], "kernel3": [1, 1], "width": 4},
}
GREY = (100, 100, 100)


class Corner(torch.nn.Module):
    """Class 1's logit is 2 + the mean red of the top left 4 x 4 pixels, class 0's is 0."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        red = 2 + self.weight * images[:, 0, :4, :4].mean(dim=(1, 2))
        return torch.stack([torch.zeros_like(red), red], dim=1)


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (3, 12, 10, 3)).astype(np.uint8)


def test_log_odds_are_exact_where_the_class_is_all_but_certain():
    logits = np.array([[0.0, 1.5, -2.0], [0.0, 80.0, 0.0]], np.float32)
    found = log_odds(logits, np.array([1, 1]))
    p = np.exp(1.5) / (1 + np.exp(1.5) + np.exp(-2.0))
    assert found[0] == pytest.approx(np.log(p) - np.log1p(-p), abs=1e-12)
    assert found[1] == pytest.approx(80 - np.log(2), abs=1e-12), "p is 1 in float64"
    two = log_odds(np.array([[-0.5, 1.25]], np.float32), np.array([0]))
    assert expit(two[0]) == pytest.approx(expit(-1.75))


@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_an_answer_that_is_no_number_is_refused(images, odd):
    net = Corner()
    net.weight.data[:] = odd
    with pytest.raises(UserError, match="answer to image 0 of 3 is NaN or infinite"):
        occlude(net, images, np.array([1, 0, 1]), patch=4, stride=2, colour=GREY)


def test_a_net_that_looks_at_one_corner_is_found_to(images):
    maps, whole = occlude(
        Corner(), images, np.array([1, 0, 1]), patch=4, stride=2, colour=GREY, batch_size=7
    )
    assert maps.shape == (3, 5, 4)
    assert maps.dtype == np.float32
    assert (maps[:, 2:] == 0).all(), "no square there touches the corner"
    assert (maps[:, :, 2:] == 0).all()
    sign = np.array([1, -1, 1])
    # What a hidden part of the corner changes of its mean, in the net's units.
    for y in range(2):
        for x in range(2):
            corner = images[:, :4, :4, 0].astype(float)
            covered = corner.copy()
            covered[:, 2 * y :, 2 * x :] = 100
            drop = (corner - covered).mean(axis=(1, 2)) / 255 / DEVIATION[0]
            np.testing.assert_allclose(maps[:, y, x], sign * drop, atol=2e-6)
    red = images[:, :4, :4, 0].mean(axis=(1, 2)) / 255
    np.testing.assert_allclose(whole, sign * (2 + (red - MEAN[0]) / DEVIATION[0]), atol=2e-6)
    assert whole.dtype == np.float64


def test_batches_and_the_images_do_not_matter(images):
    before = images.copy()
    model, classes = build_seeded(SPEC, 2, 0), np.array([0, 1, 0])
    told = []
    options = {"patch": 5, "stride": 3, "colour": GREY}
    small, _ = occlude(model, images, classes, **options, batch_size=4, progress=told.append)
    large, _ = occlude(model, images, classes, **options, batch_size=1000)
    np.testing.assert_allclose(small, large, atol=1e-6)
    np.testing.assert_array_equal(images, before)
    assert sum(told) == small.size
    assert max(told) == 4
    alone, _ = occlude(model, images[2:], classes[2:], **options)
    np.testing.assert_allclose(small[2:], alone, atol=1e-6)
    assert len(np.unique(small)) > 20


@pytest.mark.parametrize(
    ("side", "patch", "stride", "expected"),
    [
        (8, 4, 4, [0, 4]),
        (10, 4, 4, [0, 4, 6]),
        (10, 4, 3, [0, 3, 6]),
        (5, 5, 1, [0]),
        (7, 6, 5, [0, 1]),
    ],
)
def test_squares_reach_the_border(side, patch, stride, expected):
    assert positions(side, patch, stride).tolist() == expected


def test_squares_that_do_not_fit_are_refused(images):
    for patch, stride, message in (
        (11, 1, "squares of 11 pixels on images of 10; choose 1 to 10"),
        (0, 1, "squares of 0 pixels"),
        (4, 5, "5 pixels apart and 4 wide; a stride of 1 to 4"),
        (4, 0, "0 pixels apart"),
    ):
        with pytest.raises(UserError, match=message):
            occlude(Corner(), images, np.array([1, 0, 1]), patch=patch, stride=stride, colour=GREY)


def test_each_pixel_shows_the_mean_of_the_squares_over_it(images):
    maps = np.array([[[1.0, 3.0, 8.0]]], np.float32)
    found = OcclusionMaps(
        maps=maps,
        log_odds=np.zeros(1),
        class_indices=np.zeros(1, np.int64),
        tops=np.array([0]),
        lefts=np.array([0, 2, 3]),
        keys=["a"],
        classes=["x"],
        patch=2,
        size=(2, 5),
        colour=GREY,
        seed=0,
    ).by_pixel(maps)
    np.testing.assert_array_equal(found, [[[1, 1, 3, 5.5, 8]] * 2])


def test_the_mean_colour_is_that_of_all_images():
    images = np.zeros((2, 2, 2, 3), np.uint8)
    images[0, ..., 0] = 201
    images[1, 0, ..., 2] = 40
    assert mean_colour(images) == (100, 0, 10)


def write_manifest(folder: Path, counts: dict[str, int], size: int = 12, shards: int = 1) -> Path:
    rng = np.random.default_rng(5)
    labels = [label for label, count in enumerate(counts.values()) for _ in range(count)]
    images = rng.integers(0, 256, (len(labels), size, size, 3)).astype(np.uint8)
    tars = [folder / f"{number:05d}.tar" for number in range(shards)]
    for number, tar in enumerate(tars):
        with ShardWriter(tar, "png") as writer:
            for index in range(number, len(labels), shards):
                name = list(counts)[labels[index]]
                writer.add(Sample(f"{name}-{index}", labels[index], name), images[index])
    gather(tars, folder / "manifest.parquet")
    return folder / "manifest.parquet"


def test_images_are_drawn_by_seed_and_key(tmp_path):
    manifest = Manifest(write_manifest(tmp_path / "a", {"real": 9, "fake": 7}))
    other = Manifest(write_manifest(tmp_path / "b", {"real": 9, "fake": 7}, shards=3))

    def drawn(where: Manifest, seed: int) -> list[str]:
        rows = choose_rows(where, 4, seed)
        assert where.class_indices[rows].tolist() == [0] * 4 + [1] * 4
        return where.table["key"].take(rows).to_pylist()

    assert drawn(manifest, 0) == drawn(other, 0) != drawn(manifest, 1)
    assert len(set(drawn(manifest, 0))) == 8
    with pytest.raises(UserError, match="class fake has 7 images, and 8 are needed"):
        choose_rows(manifest, 8, 0)
    with pytest.raises(UserError, match="0 images of each class"):
        choose_rows(manifest, 0, 0)


@pytest.fixture
def files(tmp_path):
    model = tmp_path / "model.safetensors"
    save(build_seeded(SPEC, 2, 0), About(SPEC, ["real", "fake"], input_size=16), model)
    return {"model": model, "test": write_manifest(tmp_path / "test", {"real": 5, "fake": 4})}


def map_words(files, out, **changes):
    options = {"images": 3, "patch": 6, "stride": 4, "seed": 0, "threads": 1, "gpus": 0}
    options = files | options | {"maps": out} | changes
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    return map_occlusion.options().parse_args(words)


@pytest.fixture
def run_map():
    """Run the command in this process, and leave torch as it was."""
    threads, mode = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    fill = torch.utils.deterministic.fill_uninitialized_memory
    yield lambda *args, **changes: map_occlusion.main(map_words(*args, **changes))
    torch.set_num_threads(threads)
    torch.set_deterministic_debug_mode(mode)
    torch.utils.deterministic.fill_uninitialized_memory = fill


def draw_words(maps, test, figure, *more):
    words = ["--maps", maps, "--test", test, "--figure", figure, *more]
    draw_occlusion.main(draw_occlusion.options().parse_args([str(word) for word in words]))


def test_the_commands_map_and_draw_the_same_bytes_each_time(files, run_map, tmp_path):
    paths = [tmp_path / name for name in ("a.safetensors", "b.safetensors")]
    for path in paths:
        run_map(files, path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    found = load_maps(paths[0])
    assert found.maps.shape == (6, 4, 4), "the net sees 16 pixels: squares at 0, 4, 8 and 10"
    assert found.tops.tolist() == [0, 4, 8, 10]
    assert found.size == (16, 16)
    assert found.class_indices.tolist() == [0, 0, 0, 1, 1, 1]
    assert [key.split("-")[0] for key in found.keys] == ["real"] * 3 + ["fake"] * 3
    assert (found.patch, found.classes, found.seed) == (6, ["real", "fake"], 0)

    for name in ("a.svg", "b.svg", "a.png", "b.png"):
        draw_words(paths[0], files["test"], tmp_path / name, "--columns", 2)
    for kind in ("svg", "png"):
        first, second = ((tmp_path / f"{name}.{kind}").read_bytes() for name in "ab")
        assert first == second
    assert (tmp_path / "a.svg").read_text().count("<image ") == 2 * (2 * 2 + 1) + 2
    with Image.open(tmp_path / "a.png") as picture:
        assert min(picture.size) > 400


def test_maps_and_pictures_are_of_the_middle_that_the_classifier_sees(files, run_map, tmp_path):
    # The sources' images are larger than what the network sees of them.
    side = Manifest(files["test"]).images([0]).shape[1]
    about = About(SPEC, ["real", "fake"], input_size=16, test_share=0.5)
    save(build_seeded(SPEC, 2, 0), about, files["model"])
    run_map(files, tmp_path / "maps")
    found = load_maps(tmp_path / "maps")
    assert (found.size, found.share) == ((16, 16), 0.5)
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3)).astype(np.uint8)
    seen = about.fit(image[None])[0]
    assert seen.shape == (16, 16, 3)
    np.testing.assert_array_equal(draw_occlusion.shown(image, found), seen)
    assert not np.array_equal(seen, About(SPEC, [], input_size=16).fit(image[None])[0])


def test_mistakes_are_told_in_one_line(files, run_map, tmp_path):
    out = tmp_path / "maps.safetensors"
    for changes, message in (
        ({"patch": 17}, "squares of 17 pixels on images of 16"),
        ({"images": 5}, "class fake has 4 images, and 5 are needed"),
        ({"test": write_manifest(tmp_path / "o", {"real": 4})}, "has no class fake"),
    ):
        with pytest.raises(UserError, match=message):
            run_map(files, out, **changes)
        assert not out.exists()
    run_map(files, out)
    other = write_manifest(tmp_path / "other", {"real": 1, "fake": 1})
    with pytest.raises(UserError, match=re.escape(f"{other} has no image real-")):
        draw_words(out, other, tmp_path / "a.svg")
    with pytest.raises(UserError, match=r"ends in \.svg or \.png"):
        draw_words(out, files["test"], tmp_path / "a.pdf")
    with pytest.raises(UserError, match="holds no maps of map_occlusion"):
        load_maps(files["model"])
    (tmp_path / "junk").write_bytes(b"junk")
    with pytest.raises(UserError, match="holds no maps of map_occlusion"):
        load_maps(tmp_path / "junk")


def test_the_figure_shows_the_mean_of_each_class(images):
    pixels = np.random.default_rng(1).integers(0, 256, (4, 6, 6, 3)).astype(np.uint8)
    maps = np.zeros((4, 2, 2), np.float32)
    maps[:2, 0, 1] = [3, 1]
    maps[2:, 1, 0] = [-4, -2]
    found = OcclusionMaps(
        maps=maps,
        log_odds=np.zeros(4),
        class_indices=np.array([0, 0, 1, 1]),
        tops=np.array([0, 3]),
        lefts=np.array([0, 3]),
        keys=list("abcd"),
        classes=["real", "fake"],
        patch=3,
        size=(6, 6),
        colour=GREY,
        seed=0,
    )
    figure = draw(found, pixels, columns=2)
    means = [axes for axes in figure.axes if axes.get_title(loc="left") == "mean of 2"]
    assert len(means) == 2
    in_favour, against = (axes.images[0].get_array() for axes in means)
    # Clear where nothing changes; of the two means, -3 is the end of the scale and 2 is 2/3 of it.
    for colours, corner, alpha, strong in (
        (in_favour, (slice(3), slice(3, 6)), 0.9 * 2 / 3, 0),
        (against, (slice(3, 6), slice(3)), 0.9, 2),
    ):
        square = colours[corner]
        np.testing.assert_allclose(square[..., 3], alpha, atol=0.01)
        assert (square[..., :3].argmax(axis=-1) == strong).all()
        rest = colours[..., 3].copy()
        rest[corner] = 0
        assert rest.max() < 0.01
    with pytest.raises(UserError, match=r"images \(3, 12, 10, 3\) in 2 columns for 4 maps"):
        draw(found, images, columns=2)
