"""FreeMatch and FlexMatch: thresholds, batches, and what few labels do."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from test_blends import make_manifest
from test_training import CPU, SPEC, red_or_dark, same_weights

from synthgap.checkpoint import Checkpoint
from synthgap.classifiers.architectures import build_seeded
from synthgap.classifiers.evaluation import predict
from synthgap.classifiers.recipe import Recipe
from synthgap.classifiers.semi_supervised import FlexMatch, FreeMatch, PairedBatches, PairedLoss
from synthgap.classifiers.training import train
from synthgap.data.blends import Part, blend
from synthgap.data.labels import FewLabels, few_labels
from synthgap.data.shards import Manifest, write_manifest
from synthgap.errors import UserError

RECIPE = {
    "epochs": 4,
    "batch_size": 2,
    "learning_rate": 1e-2,
    "warmup_epochs": 0,
    "shift": 1,
    "rand_augment": 3.0,
    "labels_per_class": 1,
    "semi_supervised": {"method": "freematch", "unlabelled_ratio": 4, "decay": 0.9},
}
# Twelve batches of six images of three classes, eight images in all: which of them FreeMatch
# takes, its fairness term, and which FlexMatch takes, by the authors' library (semilearn 0.3.2).
REFERENCE = [
    ("111111", -1.147304, "111111"),
    ("010111", -1.132233, "111111"),
    ("111011", -1.133881, "111111"),
    ("111100", -1.217116, "111111"),
    ("111101", -1.114000, "011101"),
    ("011111", -1.126706, "111111"),
    ("110111", -1.219549, "111111"),
    ("111111", -1.215555, "111111"),
    ("111111", -9.972376, "101111"),
    ("111101", -1.101516, "111001"),
    ("111011", -1.100603, "111111"),
    ("001011", -1.108846, "001111"),
]


def changed(**options) -> Recipe:
    return Recipe.from_mapping({**RECIPE, **options})


def with_labels(n: int, labelled: list[int], given: tuple[int, ...] = ()) -> FewLabels:
    flags = np.zeros((2, n), bool)
    flags[0, [*labelled, *given]] = True
    flags[1, list(given)] = True
    return FewLabels(flags[0], ~flags[1], 2)


def test_thresholds_are_those_of_the_authors():
    rng = np.random.default_rng(0)
    free, flex = FreeMatch(3, 0.5), FlexMatch(3, 8)
    for free_takes, fairness, flex_takes in REFERENCE:
        weak = torch.from_numpy(4 * rng.normal(size=(6, 3)).astype(np.float32)).softmax(dim=1)
        strong = torch.from_numpy(rng.normal(size=(6, 3)).astype(np.float32))
        numbers = torch.from_numpy(rng.permutation(8)[:6])
        chosen = free.choose(weak, numbers)
        assert "".join(str(int(one)) for one in chosen) == free_takes
        assert float(free.fairness(strong[chosen])) == pytest.approx(fairness, abs=2e-6)
        assert "".join(str(int(one)) for one in flex.choose(weak, numbers)) == flex_takes


def test_images_that_came_with_their_labels_do_not_count_as_unlearnt():
    recipe = changed(semi_supervised={**RECIPE["semi_supervised"], "method": "flexmatch"})
    asked = []
    for given in ((), tuple(range(100, 300))):
        few = with_labels(100 + len(given), [0, 1], given)
        thresholds = PairedLoss(recipe, few).thresholds
        sure = torch.tensor([[0.99, 0.01], [0.01, 0.99]]).repeat(50, 1)
        thresholds.choose(sure, torch.arange(100))
        # All unlabelled images are learnt, as many of each class: now the cut-off is asked for.
        scale = torch.linspace(0.5, 1, 101)
        chosen = thresholds.choose(torch.stack([scale, 1 - scale], 1), torch.zeros(101).long())
        asked.append(float(scale[chosen][0]))
    assert asked == pytest.approx([0.95, 0.95])


def test_nothing_chosen_is_no_loss():
    free = FreeMatch(3, 0.5)
    none = torch.zeros((0, 3), requires_grad=True)
    loss = free.fairness(none)
    loss.backward()
    assert loss.item() == 0


def test_fairness_is_least_where_answers_are_one_sided_least():
    free = FreeMatch(2, 0.5)
    even = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert float(free.fairness(even)) == pytest.approx(np.log(0.5))


def test_an_epoch_shows_each_unlabelled_image_once_and_labelled_ones_evenly():
    images, labels = red_or_dark(30, 1)
    few = with_labels(30, [3, 8, 20], given=(5, 6))
    batches = PairedBatches(images, labels, few, changed())
    served = list(batches.epoch(7, CPU))
    assert len(served) == len(batches) == 4
    seen = torch.cat([batch.numbers for batch in served]).tolist()
    assert sorted(seen) == [n for n in range(30) if n not in (5, 6)]
    assert [len(batch.labels) for batch in served] == [2, 2, 2, 2]
    assert batches.images_a_step == 2 + 2 * 8
    for batch in served:
        assert batch.weak.shape == batch.strong.shape == (len(batch.numbers), 3, 16, 16)
        assert not torch.equal(batch.weak, batch.strong)


def test_each_labelled_image_comes_once_before_any_comes_again():
    images, labels = red_or_dark(40, 1)
    labels = np.arange(40)  # so that a label tells the image
    few = with_labels(40, [1, 4, 9, 16], given=(25,))
    for seed in range(5):
        served = PairedBatches(images, labels, few, changed()).epoch(seed, CPU)
        seen = torch.cat([batch.labels for batch in served]).tolist()
        assert sorted(seen[:5]) == sorted(seen[5:10]) == [1, 4, 9, 16, 25]


def test_what_is_drawn_depends_on_the_seed_alone():
    images, labels = red_or_dark(30, 1)
    batches = PairedBatches(images, labels, with_labels(30, [1, 2]), changed())
    first, again, other = (list(batches.epoch(seed, CPU)) for seed in (1, 1, 2))
    for one, same in zip(first, again, strict=True):
        assert torch.equal(one.strong, same.strong)
        assert torch.equal(one.labelled.images, same.labelled.images)
    assert not torch.equal(first[0].numbers, other[0].numbers)


def test_parts_have_both_kinds_and_lose_nothing():
    images, labels = red_or_dark(30, 1)
    batches = PairedBatches(images, labels, with_labels(30, [1, 2]), changed())
    whole = next(batches.epoch(0, CPU))
    parts = list(whole.parts(5))
    assert [len(part.labels) for part in parts] == [1, 1]
    assert torch.equal(torch.cat([part.strong for part in parts]), whole.strong)
    assert torch.equal(torch.cat([part.numbers for part in parts]), whole.numbers)
    assert len(list(whole.parts(100))) == 1


HASTY = {"method": "freematch", "unlabelled_ratio": 4, "decay": 0.0}


def test_the_loss_is_that_of_labels_and_of_sure_answers():
    images, labels = red_or_dark(30, 1)
    few = with_labels(30, [1, 2])
    recipe = changed(label_smoothing=0.0, semi_supervised=HASTY)
    whole = next(PairedBatches(images, labels, few, recipe).epoch(0, CPU))
    torch.manual_seed(0)
    logits = 3 * torch.randn(len(whole.labels) + 2 * len(whole.numbers), 2)
    found = float(PairedLoss(recipe, few)(lambda batch: logits, whole, whole))

    n, m = len(whole.labels), len(whole.numbers)
    log_p = (logits - logits.exp().sum(1, keepdim=True).log()).numpy()
    expected = -np.mean(log_p[np.arange(n), whole.labels.numpy()])
    weak, strong = np.exp(log_p[n : n + m]), log_p[n + m :]
    answers, thresholds = weak.argmax(1), FreeMatch(2, HASTY["decay"])
    chosen = thresholds.choose(torch.from_numpy(weak), whole.numbers)
    expected -= np.sum(strong[np.arange(m), answers] * chosen.numpy()) / m
    expected += 0.01 * float(thresholds.fairness(logits[n + m :][chosen]))
    assert 0 < chosen.sum() < m
    assert found == pytest.approx(expected, abs=1e-5)


def run(folder: Path, recipe: Recipe, few: FewLabels, stop_after: int = 0):
    model, checkpoint = build_seeded(SPEC, 2, 0), Checkpoint(folder, 0)
    save, saved = checkpoint.save, []

    def save_and_stop(state: dict) -> None:
        save(state)
        saved.append(1)
        if len(saved) == stop_after:
            raise KeyboardInterrupt

    checkpoint.save = save_and_stop
    data = (*red_or_dark(40, 1), *red_or_dark(20, 2))
    history, _ = train(model, *data, recipe, 0, checkpoint, CPU, few=few)
    return model, history


@pytest.mark.parametrize("method", ["freematch", "flexmatch"])
def test_a_stopped_training_goes_on_to_the_same_bits(tmp_path, method):
    recipe = changed(semi_supervised={**RECIPE["semi_supervised"], "method": method})
    few = with_labels(40, [0, 1, 2, 3])
    whole, history = run(tmp_path / "whole", recipe, few)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", recipe, few, stop_after=2)
    resumed, resumed_history = run(tmp_path / "stopped", recipe, few)
    assert same_weights(whole, resumed)
    assert history == resumed_history


@pytest.mark.parametrize("method", ["freematch", "flexmatch"])
def test_two_labels_and_many_images_are_learnt_from(tmp_path, method):
    _, labels = red_or_dark(40, 1)
    few = with_labels(40, [int(np.flatnonzero(labels == c)[0]) for c in (0, 1)])
    options = {**RECIPE["semi_supervised"], "method": method}
    model, _ = run(tmp_path, changed(epochs=12, semi_supervised=options), few)
    images, labels = red_or_dark(60, 3)
    assert (predict(model, images, 16).argmax(1) == labels).mean() > 0.9


def test_labels_that_are_not_used_do_not_matter(tmp_path):
    images, labels = red_or_dark(40, 1)
    few, shuffled = with_labels(40, [0, 1, 2, 3]), labels.copy()
    shuffled[4:] = 1 - shuffled[4:]
    found = []
    for number, known in enumerate((labels, shuffled)):
        model = build_seeded(SPEC, 2, 0)
        checkpoint = Checkpoint(tmp_path / str(number), 1e9)
        train(model, images, known, *red_or_dark(20, 2), changed(), 0, checkpoint, CPU, few=few)
        found.append(model)
    assert same_weights(*found)


def test_few_labels_are_drawn_by_the_seed_and_lie_within_more(tmp_path):
    manifest = make_manifest(tmp_path, 20)
    found = {n: few_labels(manifest, n, 0) for n in (1, 4, 20)}
    for n, few in found.items():
        assert np.bincount(manifest.class_indices[few.labelled]).tolist() == [n, n]
        assert few.unlabelled.all()
    assert not (found[1].labelled & ~found[4].labelled).any()
    assert (few_labels(manifest, 4, 1).labelled != found[4].labelled).any()
    with pytest.raises(UserError, match="class a has 20 images, and labels of 21 are wanted"):
        few_labels(manifest, 21, 0)


def test_crops_of_an_image_have_their_label_together(tmp_path):
    manifest = make_manifest(tmp_path, 6, crops=3)
    labelled = few_labels(manifest, 2, 0).labelled
    images = [key[:5] for key in manifest.table.filter(pa.array(labelled))["key"].to_pylist()]
    assert sorted(images.count(one) for one in set(images)) == [3] * 4


def test_added_images_keep_their_label_and_real_ones_lose_theirs(tmp_path):
    real, gen = make_manifest(tmp_path / "real", 8), make_manifest(tmp_path / "gen", 20)
    parts = [Part("real", real, 1), Part("gen", gen, 0.5, given=True)]
    write_manifest(tmp_path / "manifest.parquet", *blend(parts, 0, tmp_path))
    manifest = Manifest(tmp_path / "manifest.parquet")
    few = few_labels(manifest, 2, 0)
    generated = np.array([key.startswith("1-") for key in manifest.table["key"].to_pylist()])
    assert (manifest.given_labels == generated).all()
    assert few.labelled[generated].all()
    assert few.labelled[~generated].sum() == 2 * 2
    assert (few.unlabelled == ~generated).all()
    assert not real.given_labels.any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels_per_class": None}, "say in labels_per_class how many labels"),
        ({"rand_augment": 0.0}, "set rand_augment, which makes the strong versions"),
        ({"cutmix": True}, "leave out cutmix and mixup"),
        ({"semi_supervised": {"method": "fixmatch"}}, "semi_supervised.method"),
    ],
)
def test_wrong_recipes_are_refused(change, message):
    with pytest.raises(UserError, match=message):
        changed(**change)
