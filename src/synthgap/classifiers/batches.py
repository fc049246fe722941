"""Training images as batches: in random order, cropped on the CPU, the rest on the device."""

import math
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from synthgap.classifiers import augmentation, rand_augment
from synthgap.classifiers.evaluation import normalise, standardise
from synthgap.classifiers.recipe import Recipe
from synthgap.data.decoded import Images
from synthgap.seeds import derive_seed

# Batches that are made while the device is at work on another.
AHEAD = 3
# Images that a thread crops in one go: a task costs as much as some images do.
TASK = 32


class Batch(NamedTuple):
    """Normalised images (n, 3, h, w) and what they show; `share` < 1 after CutMix or mixup."""

    images: Tensor
    labels: Tensor
    pasted_labels: Tensor
    share: float

    def parts(self, size: int) -> Iterator["Batch"]:
        """Yield the batch in nearly equal parts of at most `size` images."""
        count = math.ceil(len(self.labels) / size)
        tensors = (t.tensor_split(count) for t in (self.images, self.labels, self.pasted_labels))
        for images, labels, pasted in zip(*tensors, strict=True):
            yield Batch(images, labels, pasted, self.share)


def made_ahead(
    read: Callable[[int], list[Tensor]], count: int, device: torch.device
) -> Iterator[list[Tensor]]:
    """Yield `read(0)`, `read(1)`... on the device, made while the device is at work on others."""
    if device.type == "cpu":  # which has enough to do
        yield from map(read, range(count))
        return

    def read_pinned(index: int) -> list[Tensor]:
        return [part.pin_memory() for part in read(index)]

    with ThreadPoolExecutor(1) as producer, ExitStack() as stack:
        stack.callback(producer.shutdown, wait=True, cancel_futures=True)
        waiting: deque[Future[list[Tensor]]] = deque()
        for index in range(count + AHEAD):
            if index < count:
                waiting.append(producer.submit(read_pinned, index))
            if index >= AHEAD:
                yield [part.to(device, non_blocking=True) for part in waiting.popleft().result()]


class Batches:
    """Serve the training images of an epoch in random order, augmented.

    What is drawn for a batch depends on the epoch's seed and the batch's place alone, and not on
    threads, device or how many batches are made ahead.

    Args:
        images: (n, height, width, 3), see `synthgap.data.decoded`.
        pool: threads that read and crop; the caller does where there is none.
    """

    def __init__(
        self,
        images: Images,
        labels: NDArray[np.int64],
        recipe: Recipe,
        pool: Executor | None = None,
    ) -> None:
        self.images, self.labels = images, torch.from_numpy(labels)
        self.recipe, self.pool = recipe, pool
        self.height, self.width = images.shape[1:3]
        if recipe.input_size:
            self.height = self.width = recipe.input_size

    @property
    def images_a_step(self) -> int:
        """The most that a batch has."""
        return self.recipe.batch_size

    def __len__(self) -> int:
        """Number of batches in an epoch."""
        return math.ceil(len(self.images) / self.recipe.batch_size)

    def epoch(self, seed: int, device: torch.device) -> Iterator[Batch]:
        """Yield each image once; order and augmentation depend on `seed` alone."""
        order = torch.randperm(len(self.images), generator=Generator().manual_seed(seed))
        # Nearly equal parts, because a last batch of one or two would upset the batch norms.
        chosen = order.tensor_split(len(self))
        drawn = [Generator().manual_seed(derive_seed(seed, "batch", i)) for i in range(len(self))]

        def read(index: int) -> list[Tensor]:
            return [self.read(chosen[index], drawn[index])]

        for index, (pixels,) in enumerate(made_ahead(read, len(self), device)):
            labels = self.labels[chosen[index]].to(device)
            images = self.augmented(pixels, drawn[index])
            yield self._mix(images, labels, drawn[index])

    def read(self, chosen: Tensor, rng: Generator) -> Tensor:
        """Return the images of some numbers, cropped, mirrored, in the network's size, augmented.

        All that is random is drawn before any image is read, so that threads do not matter.

        Returns:
            uint8 (n, height, width, 3) on the CPU.
        """
        numbers, recipe = chosen.numpy(), self.recipe
        boxes, mirrored = None, np.zeros(len(numbers), bool)
        if recipe.crop_min_area < 1:
            height, width = self.images.shape[1:3]
            boxes = augmentation.random_boxes(
                len(numbers), height, width, recipe.crop_min_area, rng
            )
        if recipe.flip:
            mirrored = torch.rand(len(numbers), generator=rng).numpy() < 0.5
        changes: list[list[rand_augment.Change]] = []
        if recipe.rand_augment:
            changes = rand_augment.draw(
                len(numbers), recipe.rand_augment, recipe.rand_augment_deviation, rng
            )
        as_they_are = boxes is None and not changes
        same_size = self.images.shape[1:3] == (self.height, self.width)
        if as_they_are and same_size and not self.pool:
            pixels = self.images[numbers]
            pixels[mirrored] = pixels[mirrored, :, ::-1]
            return torch.from_numpy(pixels)
        out = np.empty((len(numbers), self.height, self.width, 3), np.uint8)

        def fill(start: int) -> None:
            for place in range(start, min(start + TASK, len(numbers))):
                box = None if boxes is None else boxes[place]
                image = self.images[numbers[place]]
                augmentation.resize_box(image, box, out[place], mirror=bool(mirrored[place]))
                if changes:
                    rand_augment.apply(out[place], changes[place])

        for _ in (self.pool.map if self.pool else map)(fill, range(0, len(numbers), TASK)):
            pass
        return torch.from_numpy(out)

    def augmented(self, pixels: Tensor, rng: Generator) -> Tensor:
        """Return what `read` gave, on its device, as the network sees it: (n, 3, h, w)."""
        recipe = self.recipe
        if recipe.shift:
            shifted = augmentation.shift(pixels.permute(0, 3, 1, 2), recipe.shift, rng)
            pixels = shifted.permute(0, 2, 3, 1)
        if recipe.three_augment or recipe.colour_jitter:
            colours = pixels.permute(0, 3, 1, 2).float() / 255
            if recipe.three_augment:
                colours = augmentation.three_augment(colours, rng)
            if recipe.colour_jitter:
                colours = augmentation.colour_jitter(colours, recipe.colour_jitter, rng)
            return standardise(colours)
        return normalise(pixels)

    def _mix(self, images: Tensor, labels: Tensor, rng: Generator) -> Batch:
        pastes, alpha = self.recipe.cutmix, self.recipe.mixup
        if not pastes and not alpha:
            return Batch(images, labels, labels, 1.0)
        if pastes and alpha:
            pastes = bool(torch.rand((), generator=rng) < 0.5)
        if pastes:
            images, others, share = augmentation.cutmix_batch(images, labels, rng)
        else:
            images, others, share = augmentation.mixup_batch(images, labels, alpha, rng)
        return Batch(images, labels, others, share)
