"""Mapping of predictions to the ratings of one listening test, before errors are measured (ITU-T P.1401, 7.3)."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.polynomial import Polynomial
from numpy.typing import NDArray
from scipy.optimize import nnls

Floats = NDArray[np.float64]
Order = Literal[1, 3]

# Slopes of the third-order mapping that have a double root are tried at these places of the range, which is [-1, 1]
# here. Our choice: finer ones change the error by less than one part in ten thousand.
_ROOTS = np.linspace(-1.0, 1.0, 201)


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
    # On [-1, 1] a polynomial of second order is nowhere negative just if it is a sum of positive multiples of
    # (x - t)^2 and 1 - x^2; these are the slopes of the mapping, and their multiples a problem of least squares.
    slopes = [Polynomial([1.0])]
    if order == 3:
        slopes = [Polynomial([1.0, 0.0, -1.0]), *(Polynomial([root**2, -2 * root, 1.0]) for root in _ROOTS)]
    rises = [slope.integ() for slope in slopes]
    powers = np.vander((2 * predicted - low - high) / (high - low), order + 1, increasing=True)[:, 1:]
    centred = powers - powers.mean(axis=0)
    # All rises are mixtures of three powers, so the clips shrink to three equations.
    basis, triangle = np.linalg.qr(centred)
    mixtures = np.stack([_coefficients(rise, order)[1:] for rise in rises], axis=1)
    multiples, _ = nnls(triangle @ mixtures, basis.T @ (rated - rated.mean()))
    powers_of_best = mixtures @ multiples
    constant = float(rated.mean() - powers.mean(axis=0) @ powers_of_best)
    return Polynomial([constant, *powers_of_best], domain=[low, high])


def _coefficients(polynomial: Polynomial, order: int) -> Floats:
    padded = np.zeros(order + 1)
    padded[: len(polynomial.coef)] = polynomial.coef
    return padded


def _falls_nowhere(mapping: Polynomial) -> bool:
    """Whether the slope is nowhere negative on the domain."""
    slope = mapping.deriv().trim()
    ends = mapping.domain
    turns = slope.deriv().roots() if slope.degree() > 1 else []
    places = [*ends, *(turn for turn in turns if ends[0] < turn < ends[1])]
    return bool(np.min(slope(np.array(places))) >= 0)
