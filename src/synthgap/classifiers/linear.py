"""Linear classifiers of features that are there already (paper C, section 4.3)."""

import logging
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

log = logging.getLogger("synthgap")

# Strengths of the penalty to choose from, per training image: from none to speak of to heavy.
PENALTIES = tuple(10.0**power for power in range(-6, 1))
ITERATIONS = 500


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
        standard = (np.asarray(features, np.float32) - self.mean) / self.scale
        return np.asarray(standard @ self.weights.T + self.biases, np.float32)


def fit_probe(
    features: NDArray[Any],
    labels: NDArray[np.int64],
    val_features: NDArray[Any],
    val_labels: NDArray[np.int64],
    classes: int,
) -> LinearProbe:
    """Fit a linear probe, its L2 penalty chosen by the cross-entropy of validation images.

    All training images at once, by L-BFGS until it no longer moves: nothing is random, so there
    are no seeds.

    Args:
        features: (n, d), each dimension is brought to mean 0 and deviation 1 of these.
        labels: (n,), all of 0..classes-1 among them.
        val_features, val_labels: (m, d), (m,).
    """
    # A slow import, which the tests of others need not wait for.
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    found: NDArray[np.float32] = np.asarray(features, np.float32)
    mean, scale = found.mean(0), found.std(0)
    scale[scale == 0] = 1
    train = (found - mean) / scale
    best, least = None, np.inf
    for penalty in PENALTIES:
        model = LogisticRegression(C=1 / (penalty * len(train)), max_iter=ITERATIONS)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            model.fit(train, labels)
        if any(issubclass(one.category, ConvergenceWarning) for one in caught):
            log.info("penalty %g: not converged after %d iterations", penalty, ITERATIONS)
        weights, biases = model.coef_, model.intercept_
        if classes == 2:  # scikit-learn keeps one row for two classes
            weights, biases = (
                np.concatenate([-weights, weights]) / 2,
                np.array([-1, 1]) * biases / 2,
            )
        probe = LinearProbe(
            mean, scale, weights.astype(np.float32), biases.astype(np.float32), penalty
        )
        told = log_softmax(probe.logits(val_features).astype(np.float64), axis=1)
        loss = -float(told[np.arange(len(val_labels)), val_labels].mean())
        if loss < least:
            best, least = probe, loss
    assert best is not None
    log.info("penalty %g: validation loss %.4f", best.penalty, least)
    return best
