"""Training with the labels of a few images: FreeMatch and FlexMatch.

Each step sees some labelled images, and several times as many whose labels nobody knows, these
twice: weakly augmented (shifted, mirrored, cropped) and strongly (by all of the recipe). What the
network says of the weak ones, where it is surer than a threshold, is what it is to say of the
strong ones. The methods differ in the threshold, which each class has for itself.

Sources: Zhang et al., "FlexMatch" (2021), and Wang et al., "FreeMatch" (2023), as their authors'
library carries them out; paper C, table 8.
"""

import math
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Generator, Tensor

from synthgap.classifiers.batches import Batch, Batches, made_ahead
from synthgap.classifiers.recipe import Recipe, SemiSupervised
from synthgap.data.decoded import Images
from synthgap.data.labels import FewLabels
from synthgap.seeds import derive_seed

# What FlexMatch asks of the class that is learnt best.
CUTOFF = 0.95


class PairedBatch(NamedTuple):
    """Labelled images, and unlabelled ones in two versions each: normalised, (m, 3, h, w)."""

    labelled: Batch
    weak: Tensor
    strong: Tensor
    numbers: Tensor
    """of the unlabelled images, (m,), on the CPU"""

    @property
    def labels(self) -> Tensor:
        """Of the labelled images."""
        return self.labelled.labels

    def parts(self, size: int) -> Iterator["PairedBatch"]:
        """Yield the batch in nearly equal parts of at most `size` images, and one of each kind."""
        images = len(self.labels) + 2 * len(self.numbers)
        count = min(math.ceil(images / size), len(self.labels), len(self.numbers))
        known, labels, *rest = (
            tensor.tensor_split(count)
            for tensor in (self.labelled.images, self.labels, self.weak, self.strong, self.numbers)
        )
        for index in range(count):
            labelled = Batch(known[index], labels[index], labels[index], 1.0)
            yield PairedBatch(labelled, *(tensors[index] for tensors in rest))


class PairedBatches:
    """Serve each unlabelled image once an epoch, and labelled ones as often as that takes.

    Args:
        images: (n, height, width, 3), see `synthgap.data.decoded`.
        labels: (n,); only those of labelled images are looked at.
        few: which images are labelled, and which are unlabelled.
        pool: threads that read and crop; the caller does where there is none.
    """

    def __init__(
        self,
        images: Images,
        labels: NDArray[np.int64],
        few: FewLabels,
        recipe: Recipe,
        pool: Executor | None = None,
    ) -> None:
        assert recipe.semi_supervised
        none = {"rand_augment": 0.0, "three_augment": False, "colour_jitter": 0.0}
        self.weak = Batches(images, labels, recipe.model_copy(update=none), pool)
        self.strong = Batches(images, labels, recipe, pool)
        self.labelled = torch.from_numpy(np.flatnonzero(few.labelled))
        self.unlabelled = torch.from_numpy(np.flatnonzero(few.unlabelled))
        self.batch_size = recipe.batch_size
        self.at_once = recipe.batch_size * recipe.semi_supervised.unlabelled_ratio

    @property
    def images_a_step(self) -> int:
        """The most that a batch has, both versions of the unlabelled ones among them."""
        return self.batch_size + 2 * self.at_once

    def __len__(self) -> int:
        """Number of batches in an epoch."""
        return math.ceil(len(self.unlabelled) / self.at_once)

    def epoch(self, seed: int, device: torch.device) -> Iterator[PairedBatch]:
        """Yield the batches of an epoch; what is drawn depends on `seed` alone."""
        rng = Generator().manual_seed(seed)
        order = torch.randperm(len(self.unlabelled), generator=rng)
        chosen = order.tensor_split(len(self))
        with_labels = list(self._with_labels(rng))

        def drawn(index: int, what: str) -> Generator:
            return Generator().manual_seed(derive_seed(seed, what, index))

        def read(index: int) -> list[Tensor]:
            one = self.unlabelled[chosen[index]]
            return [
                self.weak.read(with_labels[index], drawn(index, "labelled")),
                self.weak.read(one, drawn(index, "weak")),
                self.strong.read(one, drawn(index, "strong")),
            ]

        for index, (known, weak, strong) in enumerate(made_ahead(read, len(self), device)):
            labels = self.weak.labels[with_labels[index]].to(device)
            images = self.weak.augmented(known, drawn(index, "labelled, augmented"))
            yield PairedBatch(
                Batch(images, labels, labels, 1.0),
                self.weak.augmented(weak, drawn(index, "weak, augmented")),
                self.strong.augmented(strong, drawn(index, "strong, augmented")),
                self.unlabelled[chosen[index]],
            )

    def _with_labels(self, rng: Generator) -> Iterator[Tensor]:
        """Yield the labelled images of each batch: each of them once before any comes again."""
        needed = len(self) * min(self.batch_size, len(self.labelled))
        rounds = math.ceil(needed / len(self.labelled))
        orders = [torch.randperm(len(self.labelled), generator=rng) for _ in range(rounds)]
        yield from self.labelled[torch.cat(orders)[:needed]].tensor_split(len(self))


class FreeMatch:
    """Thresholds from how sure the network is of late, over all images and by class.

    Args:
        classes: number of classes.
        decay: of the moving averages, a step.
    """

    def __init__(self, classes: int, decay: float) -> None:
        self.decay = decay
        self.sureness = torch.tensor(1.0 / classes)  # of the likeliest class, on average
        self.probabilities = torch.full((classes,), 1.0 / classes)  # mean
        self.shares = torch.full((classes,), 1.0 / classes)  # of answers

    def choose(self, probabilities: Tensor, numbers: Tensor) -> Tensor:
        """Learn from a batch (m, classes); say of which images it is sure enough, (m,) bool."""
        self._to(probabilities.device)
        sure, answers = probabilities.max(dim=1)
        counts = torch.bincount(answers, minlength=len(self.shares)).to(self.shares.dtype)
        self.sureness = self._moved(self.sureness, sure.mean())
        self.probabilities = self._moved(self.probabilities, probabilities.mean(dim=0))
        self.shares = self._moved(self.shares, counts / counts.sum())
        of_class = self.probabilities / self.probabilities.max()
        return sure >= self.sureness * of_class[answers]

    def fairness(self, logits: Tensor) -> Tensor:
        """Return the term that keeps answers to the chosen strong images, (m, classes), diverse.

        The mean probability of each class, over how often it is the answer: of these images
        against the moving average of all. It is minus a cross-entropy, which grows without them.
        """
        if not len(logits):
            return logits.sum()
        probabilities = logits.softmax(dim=1)
        counts = torch.bincount(probabilities.argmax(dim=1), minlength=logits.shape[1])
        expected = _evened(self.probabilities, self.shares)
        found = _evened(probabilities.mean(dim=0), counts / counts.sum())
        return (expected * torch.log(found + 1e-12)).sum()

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("sureness", "probabilities", "shares")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)

    def _moved(self, average: Tensor, value: Tensor) -> Tensor:
        return self.decay * average + (1 - self.decay) * value

    def _to(self, device: torch.device) -> None:
        self.load_state_dict({name: one.to(device) for name, one in self.state_dict().items()})


def _evened(probabilities: Tensor, shares: Tensor) -> Tensor:
    """Return probabilities over shares, 0 where the share is, as a distribution."""
    ratios = torch.where(shares > 0, probabilities / shares.clamp(min=1e-30), 0.0)
    return ratios / ratios.sum()


class FlexMatch:
    """Thresholds from how many images the network was ever sure of, by class.

    Args:
        classes: number of classes.
        images: number of images, all that `choose` may be told of.
        known: of them, those that it is never told of, as their labels came with them, (images,)
            bool; none by default. They must not count as images that nothing is known of.
    """

    def __init__(
        self, classes: int, images: int, cutoff: float = CUTOFF, known: Tensor | None = None
    ) -> None:
        self.classes, self.cutoff = classes, cutoff
        # The last sure answer to each image; `classes` where there was none yet.
        self.answers = torch.full((images,), classes)
        self.known = 0 if known is None else int(known.sum())

    def choose(self, probabilities: Tensor, numbers: Tensor) -> Tensor:
        """Say of which images the network is sure enough, (m,) bool; learn from the batch (m, c).

        Args:
            numbers: of the images, (m,), on the CPU.
        """
        sure, answers = probabilities.max(dim=1)
        counts = self.answers.bincount(minlength=self.classes + 1)
        counts[-1] -= self.known
        # While most images have no sure answer they are what counts are compared to. At first
        # thresholds are 0.
        learnt = (counts[:-1] / counts.max()).to(probabilities.device)
        chosen = sure >= self.cutoff * (learnt / (2 - learnt))[answers]
        certain = (sure >= self.cutoff).cpu()
        self.answers[numbers[certain]] = answers.cpu()[certain]
        return chosen

    def fairness(self, logits: Tensor) -> Tensor:
        """Return 0: FlexMatch has no such term."""
        return logits.new_zeros(())

    def state_dict(self) -> dict[str, Any]:
        return {"answers": self.answers}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.answers = state["answers"].clone()


class PairedLoss:
    """The loss of a batch of both kinds of images: see the module."""

    def __init__(self, recipe: Recipe, few: FewLabels) -> None:
        assert recipe.semi_supervised
        self.options: SemiSupervised = recipe.semi_supervised
        self.smoothing = recipe.label_smoothing
        free = self.options.method == "freematch"
        self.thresholds = (
            FreeMatch(few.classes, self.options.decay)
            if free
            else FlexMatch(
                few.classes, len(few.unlabelled), known=torch.from_numpy(~few.unlabelled)
            )
        )

    def __call__(
        self, network: Callable[[Tensor], Tensor], part: PairedBatch, whole: PairedBatch
    ) -> Tensor:
        """Return what a part adds to the mean loss of a batch."""
        labelled, unlabelled = len(part.labels), len(part.numbers)
        # All in one go, so that batch norms see them together.
        logits = network(torch.cat([part.labelled.images, part.weak, part.strong]))
        known, weak, strong = logits.split([labelled, unlabelled, unlabelled])
        supervised = F.cross_entropy(known, part.labels, label_smoothing=self.smoothing)
        probabilities = weak.detach().softmax(dim=1)
        chosen = self.thresholds.choose(probabilities, part.numbers)
        each = F.cross_entropy(strong, probabilities.argmax(dim=1), reduction="none")
        consistent = (each * chosen).mean()
        fair = self.thresholds.fairness(strong[chosen])
        options = self.options
        share = unlabelled / len(whole.numbers)
        rest = share * (options.weight * consistent + options.fairness * fair)
        return supervised * (labelled / len(whole.labels)) + rest

    def state_dict(self) -> dict[str, Any]:
        return self.thresholds.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.thresholds.load_state_dict(state)
