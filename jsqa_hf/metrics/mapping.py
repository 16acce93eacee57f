"""Mapping of predictions to the ratings of one listening test, before errors are measured (ITU-T P.1401, 7.3)."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.polynomial import Polynomial
from numpy.typing import NDArray
from scipy.optimize import nnls

Floats = NDArray[np.float64]
Order = Literal[1, 3]

# On [-1, 1] a polynomial of second order is nowhere negative just if it is a sum of positive multiples of 1 - x^2 and
# of (x - t)^2, with t in [-1, 1]. With these as slopes, the best monotonic cubic is one of non-negative least squares.
# The number of t is our choice: more change the error by less than one part in a thousand.
_ROOTS = np.linspace(-1.0, 1.0, 201)
# Integrals of these slopes: their coefficients of x, x^2 and x^3, (3, slopes).
_RISES = np.stack([np.append(_ROOTS**2, 1.0), np.append(-_ROOTS, 0.0), np.append(np.full(201, 1 / 3), -1 / 3)])


def fit_mapping(predicted: Floats, rated: Floats, order: Order) -> Polynomial:
    """The polynomial of the predictions that is nearest to the ratings and falls nowhere between the predictions.

    Tests differ in offset, gradient and curvature, which P.1401 takes out with a first- or third-order polynomial
    that must be monotonic. It doesn't turn the order of a model around: predictions that run against the ratings are
    mapped to the mean rating.

    Args:
        predicted: (units,) predictions of clips or conditions, all finite.
        rated: (units,) ratings of the same.
        order: 1 or 3.

    Returns:
        A polynomial to call with predictions; `.convert().coef` are its coefficients, from the constant on. It rises
        between the least and the greatest prediction only.

    Raises:
        ValueError: if the order is another one, or there are fewer predictions than coefficients.
    """
    if order not in (1, 3):
        raise ValueError(f"a mapping has the order 1 or 3, not {order}")
    if len(predicted) <= order:
        raise ValueError(f"{len(predicted)} predictions are too few for the {order + 1} coefficients of a mapping")
    low, high = float(predicted.min()), float(predicted.max())
    if low == high:
        return Polynomial([float(rated.mean())])
    if len(np.unique(predicted)) > order:
        free = Polynomial.fit(predicted, rated, order)
        if _falls_nowhere(free):
            return free
    powers = np.vander((2 * predicted - low - high) / (high - low), order + 1, increasing=True)[:, 1:]
    # All rises are mixtures of three powers, so the clips shrink to three equations.
    basis, triangle = np.linalg.qr(powers - powers.mean(axis=0))
    rises = _RISES if order == 3 else np.ones((1, 1))
    multiples, _ = nnls(triangle @ rises, basis.T @ (rated - rated.mean()))
    coefficients = rises @ multiples
    constant = float(rated.mean() - powers.mean(axis=0) @ coefficients)
    return Polynomial([constant, *coefficients], domain=[low, high])


def _falls_nowhere(mapping: Polynomial) -> bool:
    """Whether the slope is nowhere negative on the domain."""
    slope = mapping.deriv().trim()
    ends = mapping.domain
    turns = slope.deriv().roots() if slope.degree() > 1 else []
    places = [*ends, *(turn for turn in turns if ends[0] < turn < ends[1])]
    return bool(np.min(slope(np.array(places))) >= 0)
