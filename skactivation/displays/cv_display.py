"""Plots of the scores of a cross-validated penalty."""

from __future__ import annotations  # help() then shows ArrayLike, not its definition

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from skactivation._typing import Array
from skactivation.displays._pyplot import (
    figure_and_axes,
    label_if_new,
    legend_entry,
    line_look,
    log_ticks,
    looks,
    pyplot,
)
from skactivation.linear_model import SigmoidMultiLabelCV, SoftmaxRegressionCV

__all__ = ["CVDisplay"]

# Folds whose lines can be told apart.
_MOST_FOLDS = 30


class CVDisplay:
    """Mean score against C, with a band of one standard error, a thin line for each fold, and the chosen C (a dot).

    Create one with `from_estimator`.

    Parameters
    ----------
    Cs : ndarray of shape (n_Cs,)
        Values of C.
    mean_scores : ndarray of shape (n_Cs,) or (n_Cs, L)
        Mean score of each; a column for each label if these have their own C.
    standard_errors : ndarray of the same shape
        Standard errors of the means; NaN for none.
    chosen : int or ndarray of shape (L,)
        Index of the chosen C.
    fold_scores : ndarray of shape (n_folds, n_Cs), default=None
        Scores of the folds.
    score_name : str, default="mean score"
        What the scores are, for the axis.
    name : str, default=None
        Name in the legend.
    label_names : array-like of shape (L,), default=None
        Names of the labels in the legend.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the curves.
    figure_ : matplotlib Figure
        Figure of the axes.
    lines_ : list of matplotlib Line2D
        The line of the mean scores; with several labels, one for each.
    fold_lines_ : list of matplotlib Line2D
        The lines of the folds.

    See Also
    --------
    SoftmaxRegressionCV : Chooses C for exclusive classes.
    SigmoidMultiLabelCV : Chooses C for several labels.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from skactivation import SoftmaxRegressionCV
    >>> from skactivation.displays import CVDisplay
    >>> search = SoftmaxRegressionCV(Cs=[0.01, 0.1, 1, 10]).fit(*load_wine(return_X_y=True))
    >>> CVDisplay.from_estimator(search).lines_[0].get_label()
    'SoftmaxRegressionCV: C = 10, score -0.0881'
    """

    def __init__(
        self,
        Cs: Array,
        mean_scores: Array,
        standard_errors: Array,
        chosen: Any,
        *,
        fold_scores: Array | None = None,
        score_name: str = "mean score",
        name: str | None = None,
        label_names: ArrayLike | None = None,
    ) -> None:
        self.Cs, self.mean_scores, self.standard_errors, self.chosen = Cs, mean_scores, standard_errors, chosen
        self.fold_scores, self.score_name = fold_scores, score_name
        self.name, self.label_names = name, label_names

    @classmethod
    def from_estimator(cls, estimator: Any, *, name: str | None = None, ax: Any = None, **kwargs: Any) -> Self:
        """Draw the scores of a fitted search.

        Parameters
        ----------
        estimator : SoftmaxRegressionCV or SigmoidMultiLabelCV
            The search.
        name : str, default=None
            Name in the legend. If None, the name of the search's class.
        ax : matplotlib Axes, default=None
            Axes to draw into, which may hold other displays; None creates a figure.
        **kwargs
            Keyword arguments of matplotlib's `plot`, such as ``color``.

        Returns
        -------
        CVDisplay
            The display.

        Raises
        ------
        TypeError
            If the estimator is of another kind.
        NotFittedError
            If it is not fitted.
        ImportError
            If matplotlib is not installed.
        """
        if not isinstance(estimator, (SoftmaxRegressionCV, SigmoidMultiLabelCV)):
            raise TypeError(
                "estimator must be SoftmaxRegressionCV or SigmoidMultiLabelCV, got "
                f"{type(estimator).__name__}; of a pipeline, pass the last step"
            )
        check_is_fitted(estimator, "scores_")
        per_label = np.ndim(estimator.best_index_) > 0
        display = cls(
            estimator.Cs_,
            estimator.mean_scores_,
            estimator.standard_errors_,
            estimator.best_index_,
            fold_scores=None if per_label or estimator.cv == "loo" else estimator.scores_,
            score_name=_score_name(estimator.scoring),
            name=type(estimator).__name__ if name is None else name,
            label_names=estimator.label_names_ if per_label else None,
        )
        return display.plot(ax=ax, **kwargs)

    def plot(self, *, ax: Any = None, name: str | None = None, **kwargs: Any) -> Self:
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw into, which may hold other displays; None creates a figure.
        name : str, default=None
            Name in the legend. If None, the attribute `name`.
        **kwargs
            Keyword arguments of matplotlib's `plot`, such as ``color``.

        Returns
        -------
        CVDisplay
            The display itself, with `ax_`, `figure_`, `lines_` and `fold_lines_` set.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        plt = pyplot("CVDisplay.plot")
        look = line_look(kwargs)
        self.figure_, self.ax_ = figure_and_axes(plt, ax, (6.4, 4.4))
        # A logarithmic axis has no place for C = inf.
        order = np.argsort(self.Cs)[: np.count_nonzero(np.isfinite(self.Cs))]
        Cs = np.asarray(self.Cs)[order]
        means, errors = (
            np.asarray(facts).reshape(len(self.Cs), -1) for facts in (self.mean_scores, self.standard_errors)
        )
        labels = [None] if self.label_names is None else np.asarray(self.label_names).tolist()
        self.lines_, self.fold_lines_ = [], []
        chosen = np.atleast_1d(self.chosen)
        worst = looks([-mean[best] for mean, best in zip(means.T, chosen, strict=True)])
        for label, mean, error, best, color in zip(labels, means.T, errors.T, chosen, worst, strict=True):
            result = f"C = {self.Cs[best]:.3g}, score {mean[best]:.3g}"
            entry = legend_entry(self.name if name is None else name, label, result)
            self.lines_ += self.ax_.plot(Cs, mean[order], **{"label": entry, **color, **look})
            color = self.lines_[-1].get_color()
            if np.isfinite(error).any():
                low, high = (mean - error)[order], (mean + error)[order]
                self.ax_.fill_between(Cs, low, high, color=color, alpha=0.2, linewidth=0)
            if np.isfinite(self.Cs[best]):
                self.ax_.plot(self.Cs[best], mean[best], "o", color=color)
        if self.fold_scores is not None and len(self.fold_scores) <= _MOST_FOLDS:
            for scores in self.fold_scores:
                self.fold_lines_ += self.ax_.plot(Cs, scores[order], color=color, linewidth=0.6, alpha=0.6)
        self.ax_.set_xscale("log")
        label_if_new(self.ax_, xlabel="C, the inverse strength of the penalty", ylabel=self.score_name)
        log_ticks(self.ax_.xaxis, *self.ax_.get_xlim())
        self.ax_.legend(fontsize="small")
        return self


def _score_name(scoring: Any) -> str:
    """What the scores are, for the axis."""
    if scoring is None:
        return "mean score: minus the log loss of held-out rows, nats"
    # A scorer of scikit-learn is made of a function.
    function = getattr(scoring, "_score_func", scoring)
    name = scoring if isinstance(scoring, str) else getattr(function, "__name__", type(scoring).__name__)
    return "mean score" if name == "<lambda>" else f"mean score: {name}"
