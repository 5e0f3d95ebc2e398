"""Multinomial logistic regression that starts where another one ended.

It is what scikit-learn's ``LogisticRegression`` fits: the same objective, the same solver and the same rule
to end, to rounding (a test compares them). Probes are small and many, and there half of its time goes into
checks around each step; here a step is two products of matrices. Names of shapes: ``T`` rows, ``D``
dimensions, ``L`` classes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]


class Softmax(NamedTuple):
    """A fitted model."""

    classes_L: Ints
    """The labels, sorted."""
    parameters_LE: NDArray[np.float64]
    """A row per class: its weights, then its intercept; ``E`` is ``D + 1``."""
    converged: bool
    """Whether it ended before ``max_iter``."""

    def log_proba(self, x_TD: Floats) -> Floats:
        """Log probabilities, ``(T, L)``."""
        logits_LT = _logits(self.parameters_LE, x_TD)
        return np.asarray((logits_LT - _log_sums(logits_LT)).T)

    def predict(self, x_TD: Floats) -> Ints:
        """The likeliest label of each row."""
        return np.asarray(self.classes_L[_logits(self.parameters_LE, x_TD).argmax(axis=0)])


def fit_softmax(
    x_TD: NDArray[np.float32],
    y_T: Ints,
    *,
    c: float,
    balanced: bool = False,
    start: Softmax | None = None,
    tolerance: float = 1e-3,
    max_iter: int = 500,
) -> Softmax:
    """Minimise the log loss summed over rows plus ``|weights|^2 / (2 c)``; intercepts are free.

    Args:
        x_TD: Features, in single precision, which halves the time.
        y_T: Labels, at least two different ones.
        c: Inverse strength of the penalty.
        balanced: Weight rows so that all classes weigh the same and rows 1 on average.
        start: Of the same classes and dimensions; from zero by default.
        tolerance: It ends once no entry of the gradient of the mean loss is larger.
        max_iter: Most iterations.
    """
    classes_L, class_T = np.unique(y_T, return_inverse=True)
    n, shape = len(y_T), (len(classes_L), x_TD.shape[1] + 1)
    weight_T = np.full(n, 1 / n, dtype=np.float32)
    if balanced:
        weight_T = (1.0 / (len(classes_L) * np.bincount(class_T)[class_T])).astype(np.float32)
    at, penalty = np.arange(n), 1.0 / (c * n)

    def objective(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        parameters_LE = flat.reshape(shape)
        weights_LD = parameters_LE[:, :-1]
        logits_LT = _logits(parameters_LE, x_TD)
        logits_LT -= logits_LT.max(axis=0)
        own_T = logits_LT[class_T, at]
        share_LT = np.exp(logits_LT, out=logits_LT)
        sums_T = share_LT.sum(axis=0)
        loss = float((np.log(sums_T) - own_T) @ weight_T)
        share_LT *= weight_T / sums_T
        share_LT[class_T, at] -= weight_T
        gradient_LE = np.empty(shape)
        gradient_LE[:, :-1] = share_LT @ x_TD + penalty * weights_LD
        gradient_LE[:, -1] = share_LT.sum(axis=1)
        return loss + 0.5 * penalty * float((weights_LD**2).sum()), gradient_LE.ravel()

    first_LE = np.zeros(shape) if start is None else start.parameters_LE
    # scikit-learn's options.
    options = {"maxiter": max_iter, "maxls": 50, "gtol": tolerance, "ftol": 64 * np.finfo(float).eps}
    found = minimize(objective, first_LE.ravel(), method="L-BFGS-B", jac=True, options=options)
    return Softmax(classes_L, found.x.reshape(shape), found.nit < max_iter)


def _logits(parameters_LE: NDArray[np.float64], x_TD: Floats) -> NDArray[np.float32]:
    """Shape ``(L, T)``: sums over the few classes then run along rows, which is fast."""
    parameters_LE32 = parameters_LE.astype(np.float32)
    logits_LT = parameters_LE32[:, :-1] @ x_TD.T
    logits_LT += parameters_LE32[:, -1:]
    return np.asarray(logits_LT)


def _log_sums(logits_LT: NDArray[np.float32]) -> NDArray[np.float32]:
    most_T = logits_LT.max(axis=0)
    return np.asarray(most_T + np.log(np.exp(logits_LT - most_T).sum(axis=0)))
