"""What a `ConvergenceWarning` says of a fit whose optimality gap is not certified to be at most tol."""

import numpy as np

from skactivation._optimize.problems import Outcome

_EPS = float(np.finfo(np.float64).eps)


def convergence_message(
    name: str, worst: Outcome, reached: str, *, C: float, tol: float, max_iter: int, separated: str
) -> str:
    """The message.

    Parameters
    ----------
    name : str
        The estimator, and which of its labels are concerned.
    worst : Outcome
        Why the problem with the largest gap stopped.
    reached : str
        What was reached, in numbers.
    C, tol, max_iter : float, float, int
        Parameters of the estimator.
    separated : str
        The classes or labels that are told apart without a mistake; empty for none.
    """
    if worst is Outcome.MAX_ITER:
        doubt = "; with C=inf there may be no finite optimum" if np.inf == C else ""
        return (
            f"{name} stopped before its optimum was certified: max_iter={max_iter} was reached{doubt}. Raise max_iter, "
            f"or tol if a gap of this size is small enough. ({reached})"
        )
    if worst is Outcome.CERTIFIED:
        return (
            f"{name}: rounding of the stored coefficients moves them further from the optimum than tol. Where columns "
            f"of X lie far from 0, subtract their means. ({reached})"
        )
    if separated and np.inf == C:
        return (
            f"{name}: no finite optimum exists with C=inf, because the data separate {separated}. The coefficients are "
            f"some point on the way to infinity; set a finite C, or label_smoothing. ({reached})"
        )
    if separated:
        return (
            f"{name}: the data separate {separated}, and the penalty is too weak, for X in these units, to hold the "
            f"coefficients; lower C or rescale X. ({reached})"
        )
    if np.inf == C:
        return (
            f"{name}: with C=inf no finite optimum could be certified. None exists where a combination of features "
            f"separates classes, even on some rows only; and more than 2,000 coefficients get no certificate. Set a "
            f"finite C. ({reached})"
        )
    if tol < _EPS:
        return f"{name}: tol={tol:g} is smaller than floating point can certify. ({reached})"
    return (
        f"{name} stopped before its optimum was certified: floating point allows no further progress. Raise tol or "
        f"lower C; columns that depend on each other, or have very different scales, may be the cause. ({reached})"
    )
