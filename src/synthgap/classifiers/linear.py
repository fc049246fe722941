"""Linear classifiers of features that are there already (paper C, section 4.3)."""

import io
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax
from threadpoolctl import threadpool_limits

from synthgap.atomic import atomic_path, read_sealed, write_sealed

log = logging.getLogger("synthgap")

# Strengths of the penalty to choose from: from heavy to none to speak of, as each begins with what
# the one before found.
PENALTIES = tuple(10.0**power for power in range(0, -7, -1))
ITERATIONS = 500
# Rows at once: they bound the memory, and sums over them have one order on every machine.
ROWS = 8192
_ENOUGH = {"gtol": 1e-5, "ftol": 1e-10, "maxiter": ITERATIONS}


@dataclass(frozen=True)
class LinearProbe:
    """Multinomial logistic regression of standardised features."""

    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    weights: NDArray[np.float32]
    """(classes, d)"""
    biases: NDArray[np.float32]
    penalty: float

    def logits(self, features: NDArray[Any]) -> NDArray[np.float32]:
        """Return logits (n, classes) of features (n, d)."""
        found = np.empty((len(features), len(self.biases)), np.float32)
        for start in range(0, len(features), ROWS):
            rows = slice(start, start + ROWS)
            standard = (np.asarray(features[rows], np.float32) - self.mean) / self.scale
            found[rows] = standard @ self.weights.T + self.biases
        return found


def fit_probe(
    features: NDArray[Any],
    labels: NDArray[np.int64],
    val_features: NDArray[Any],
    val_labels: NDArray[np.int64],
    classes: int,
    scratch: Path,
) -> LinearProbe:
    """Fit a linear probe, its L2 penalty chosen by the cross-entropy of validation images.

    All training images at once, by L-BFGS until it no longer moves: nothing is random, so there
    are no seeds. The loss is the mean cross-entropy plus penalty / 2 times the sum of squared
    weights. Features are read by and by, however many there are. What each penalty gave is kept in
    `scratch`: a fit that is killed and called again goes on from there to the same bits.

    Args:
        features: (n, d), may be mapped from a file; each dimension is brought to mean 0 and
            deviation 1 of these.
        labels: (n,), all of 0..classes-1 among them.
        val_features, val_labels: (m, d), (m,).
        scratch: folder for this fit alone, with room for n x d numbers of float32.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    width, fitted = features.shape[1], scratch / "fitted.npy"
    # One thread, as several would add in an order of their own.
    with threadpool_limits(1):
        mean, scale = _moments(features)
        train = _standardised(features, mean, scale, scratch / "standardised.raw")
        kept = read_sealed(fitted)
        found = list(np.load(io.BytesIO(kept))) if kept else []
        for penalty in PENALTIES[len(found) :]:
            start = found[-1] if found else np.zeros(classes * (width + 1))
            told = minimize(
                _loss, start, (train, labels, penalty), "L-BFGS-B", jac=True, options=_ENOUGH
            )
            if told.nit >= ITERATIONS:
                log.info("penalty %g: not converged after %d iterations", penalty, ITERATIONS)
            found.append(told.x)
            content = io.BytesIO()
            np.save(content, np.stack(found))
            write_sealed(fitted, content.getvalue())
        best, least = None, np.inf
        for penalty, vector in zip(PENALTIES, found, strict=True):
            rows = vector.reshape(classes, width + 1).astype(np.float32)
            probe = LinearProbe(mean, scale, rows[:, :-1], rows[:, -1], penalty)
            told = log_softmax(probe.logits(val_features).astype(np.float64), axis=1)
            loss = -float(told[np.arange(len(val_labels)), val_labels].mean())
            if loss < least:
                best, least = probe, loss
    assert best is not None
    log.info("penalty %g: validation loss %.4f", best.penalty, least)
    return best


def _loss(
    vector: NDArray[np.float64],
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    penalty: float,
) -> tuple[float, NDArray[np.float64]]:
    """Return the loss of weights and biases, (classes * (d + 1),), and its gradient."""
    both = vector.reshape(-1, features.shape[1] + 1)
    weights, biases = both[:, :-1], both[:, -1]
    total, gradient = 0.0, np.zeros_like(both)
    for start in range(0, len(features), ROWS):
        part, shown = features[start : start + ROWS], labels[start : start + ROWS]
        told = log_softmax(part @ weights.T.astype(np.float32) + biases, axis=1)
        each = np.arange(len(part))
        total -= float(told[each, shown].sum())
        wrong = np.exp(told)
        wrong[each, shown] -= 1
        gradient[:, :-1] += wrong.T.astype(np.float32) @ part
        gradient[:, -1] += wrong.sum(0)
    gradient /= len(features)
    gradient[:, :-1] += penalty * weights
    loss = total / len(features) + penalty / 2 * float(np.square(weights).sum())
    return loss, gradient.ravel()


def _parts(features: NDArray[Any]) -> Iterator[NDArray[np.float64]]:
    for start in range(0, len(features), ROWS):
        yield np.asarray(features[start : start + ROWS], np.float64)


def _moments(features: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return mean and deviation of each dimension, (d,); a deviation of 0 as 1."""
    mean = sum(part.sum(0) for part in _parts(features)) / len(features)
    squares = sum(np.square(part - mean).sum(0) for part in _parts(features))
    scale = np.sqrt(squares / len(features)).astype(np.float32)
    scale[scale == 0] = 1
    return np.asarray(mean, np.float32), scale


def _standardised(
    features: NDArray[Any], mean: NDArray[np.float32], scale: NDArray[np.float32], path: Path
) -> NDArray[np.float32]:
    """Return standardised features, float32 (n, d), mapped from a file that is written first."""
    with atomic_path(path) as part, part.open("wb") as file:
        for start in range(0, len(features), ROWS):
            some = np.asarray(features[start : start + ROWS], np.float32)
            file.write(((some - mean) / scale).tobytes())
    return np.memmap(path, np.float32, "r", shape=features.shape)
