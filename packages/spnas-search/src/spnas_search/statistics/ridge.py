"""Ridge regression in closed form, its penalty chosen by leaving out one row at a time.

Hoerl & Kennard, "Ridge Regression: Biased Estimation for Nonorthogonal Problems", Technometrics 1970; Allen, "The
Relationship between Variable Selection and Data Augmentation and a Method for Prediction", Technometrics 1974.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_Floats = NDArray[np.float64]

PENALTIES = 10.0 ** np.arange(1, -9, -1)
"""Penalties that are tried, per row; strongest first, and the first among equals is taken."""


@dataclass(frozen=True, eq=False)
class Ridge:
    """A linear prediction ``mean + ((x - centre) / scale) · coefficients``.

    Attributes:
        mean: of the values.
        centre: [p] means of the columns.
        scale: [p] standard deviations of the columns; infinite where a column does not vary, so that it says nothing.
        coefficients: [p] of the columns in these units.
        penalty: λ, per row.
    """

    mean: float
    centre: _Floats
    scale: _Floats
    coefficients: _Floats
    penalty: float

    def predict(self, rows: _Floats) -> _Floats:
        """Predict values.

        Args:
            rows: [m, p].

        Returns:
            [m] values.
        """
        predicted: _Floats = self.mean + ((rows - self.centre) / self.scale) @ self.coefficients
        return predicted


def fit_ridge(rows: _Floats, values: _Floats) -> Ridge:
    """Minimise ``Σ (y - ŷ)² + n λ |coefficients|²`` over coefficients and mean; columns count in their own units.

    λ is the one of ``PENALTIES`` whose squared errors are least when each value is predicted from all others. With Z
    the centred columns and ``Z = U S V'``, row i has the leverage ``h_i = 1/n + Σ_j U_ij² S_j² / (S_j² + n λ)``, and
    its error is ``(y_i - ŷ_i) / (1 - h_i)``, without another fit (Allen's PRESS). Units are those of all rows.

    Args:
        rows: [n, p], n at least 2.
        values: [n].
    """
    count = len(rows)
    centre, deviation, mean = rows.mean(axis=0), rows.std(axis=0), float(values.mean())
    # A column that is constant up to rounding would be all noise in its own unit.
    scale = np.where(deviation > 1e-9 * np.maximum(np.abs(centre), 1), deviation, np.inf)
    left, singular, right = np.linalg.svd((rows - centre) / scale, full_matrices=False)
    projected = left.T @ (values - mean)
    shrinkage = singular**2 / (singular**2 + count * PENALTIES[:, None])  # [g, k]
    residuals = (values - mean) - (shrinkage * projected) @ left.T  # [g, n]
    freedom = 1 - 1 / count - shrinkage @ (left**2).T  # [g, n] 1 - h
    errors = np.sum((residuals / freedom) ** 2, axis=1)
    best = int(np.argmin(errors))
    coefficients = right.T @ (singular / (singular**2 + count * PENALTIES[best]) * projected)
    return Ridge(mean, centre, scale, coefficients, float(PENALTIES[best]))
