"""Cross-validation of several values of C: folds of the rows, the fits to each, and their scores."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import _safe_indexing

from skactivation._callbacks import Watch
from skactivation._data.splits import numbers_of_rows, selected_rows
from skactivation._typing import Array
from skactivation.linear_model._base import LinearLogitModel
from skactivation.linear_model._encoded_targets import EncodedTargets
from skactivation.linear_model._held_out_losses import HeldOutLosses, LossSums
from skactivation.linear_model._penalty_path import PenaltyPath

# Numbers that folds which are fitted together hold, 256 MB.
_MOST_ELEMENTS = 2**25


class SearchData(NamedTuple):
    """Rows and what is known of them."""

    X: Any
    y: Any
    """As given, in containers from which rows can be taken."""
    rows: Any
    """X (n, d), checked."""
    weights: Array | None
    description: Any
    """y in the form that the plain estimator takes."""
    encoded: EncodedTargets
    """Targets and weights of all rows."""
    messages: list[str]
    """Warnings about them."""


class CrossValidation:
    """Fits of a plain estimator to folds, for several values of C.

    Parameters
    ----------
    plain : LinearLogitModel
        The estimator; its C is not used.
    data : SearchData
        The rows.
    splits : iterable of (train, test)
        Training and test rows of each fold. Training rows may repeat.
    check : callable
        Called with the targets of each fold and the messages about them; raises a ValueError if they won't do.
    """

    def __init__(
        self,
        plain: LinearLogitModel,
        data: SearchData,
        splits: Iterable[tuple[Any, Any]],
        check: Callable[[EncodedTargets, list[str]], None],
    ) -> None:
        self._plain, self._data, self._check = plain, data, check
        self._splits: list[tuple[Array, Array]] = []
        n_rows = data.rows.shape[0]
        for number, split in enumerate(splits):
            with _naming(number):
                train, test = split
                self._splits.append((numbers_of_rows(train, n_rows), numbers_of_rows(test, n_rows)))
        if not self._splits:
            raise ValueError("cv must give at least one split, got none")

    def fit(self, Cs: Array, watch: Watch) -> list[list[LinearLogitModel]]:
        """Models (n_folds, n_Cs), for values of C in ascending order; for fewer values if a callback stops them."""
        n_rows, n_features = self._data.rows.shape
        n_outputs, weights = self._data.encoded.null_logits.size, self._data.weights
        # Weights of the rows, of entries if need be; and what the solver holds of coefficients.
        each = n_rows * (1 if weights is None or weights.ndim == 1 else weights.shape[1])
        step = max(1, _MOST_ELEMENTS // (each + 20 * n_outputs * n_features))
        models: list[list[LinearLogitModel]] = []
        for first in range(0, len(self._splits), step):
            models += self._fit_together(range(first, min(first + step, len(self._splits))), Cs, watch)
        return [of_fold[: len(models[-1])] for of_fold in models]

    def scores(
        self, models: list[list[LinearLogitModel]], scorer: Callable[..., float], params: dict[str, Any]
    ) -> Array:
        """Scores (n_folds, n_Cs) by a scorer, with its parameters for all rows."""
        n_rows = self._data.rows.shape[0]
        scores = []
        for (_, test), of_fold in zip(self._splits, models, strict=True):
            X, y = (_safe_indexing(rows, test) for rows in (self._data.X, self._data.y))
            of_test = {name: selected_rows(value, test, n_rows) for name, value in params.items()}
            scores.append([scorer(model, X, y, **of_test) for model in of_fold])
        return np.array(scores, dtype=np.float64)

    def loss_sums(self, models: list[list[LinearLogitModel]], losses: HeldOutLosses) -> LossSums:
        """Losses of the models of each fold on its test rows."""
        sums = [
            losses.sums(
                np.stack([model.coef_ for model in of_fold]), np.stack([model.intercept_ for model in of_fold]), test
            )
            for (_, test), of_fold in zip(self._splits, models, strict=True)
        ]
        return LossSums(*map(np.stack, zip(*sums, strict=True)))

    def _fit_together(self, numbers: range, Cs: Array, watch: Watch) -> list[list[LinearLogitModel]]:
        """Models (., n_Cs) of the folds with some numbers."""
        encoded = [self._encoded(number) for number in numbers]
        path = PenaltyPath(
            self._data.rows,
            encoded,
            fit_intercept=self._plain.fit_intercept,
            tol=self._plain.tol,
            max_iter=self._plain.max_iter,
        )
        # A value of C is done once the last folds are.
        is_last = numbers.stop == len(self._splits)
        fits, models, start = path.fits(Cs, watch, with_tasks=is_last), [], 0
        for of_fold in encoded:
            problems = np.arange(start, start + of_fold.units.size)
            models.append([self._plain.fitted_as(of_fold, of_C.take(problems), self._data.rows.dtype) for of_C in fits])
            start += problems.size
        return models

    def _encoded(self, number: int) -> EncodedTargets:
        """Targets and weights of the training rows of a fold; the other rows have the weight 0."""
        train, test = self._splits[number]
        all_weights = self._data.weights
        times = np.bincount(train, minlength=self._data.rows.shape[0]).astype(np.float64)
        weights = times if all_weights is None else (times * all_weights.T).T
        held_out = np.ones(test.size) if all_weights is None else all_weights[test]
        with _naming(number):
            for name, there in (("training", weights), ("test", held_out)):
                if not there.any():
                    raise ValueError(f"there is no {name} row of positive weight: use another splitter")
        with _naming(number, ", in its training rows"):
            encoded, messages = self._plain._weigh(self._data.description, weights)
        with _naming(number):
            self._check(encoded, messages)
        return encoded


@contextmanager
def _naming(number: int, part: str = "") -> Iterator[None]:
    """Name the split, and a part of it, in errors."""
    try:
        yield
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"split {number} of cv{part}: {error}") from error
