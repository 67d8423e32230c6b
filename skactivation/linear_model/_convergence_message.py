"""Message of the `ConvergenceWarning` for a fit whose optimality gap is not certified to be at most tol."""

import numpy as np

from skactivation._optimize.problems import Outcome

_EPS = float(np.finfo(np.float64).eps)


def convergence_message(
    name: str, worst: Outcome, reached: str, *, C: float, tol: float, max_iter: int, separated: str
) -> str:
    """Return the message: the reason, what to do, and what was reached.

    Parameters
    ----------
    name : str
        Name of the estimator, and of the labels concerned.
    worst : Outcome
        Reason why the problem with the largest gap stopped.
    reached : str
        The gap, gradient norm and number of iterations reached.
    C, tol, max_iter : float, float, int
        Parameters of the estimator.
    separated : str
        Names of the classes or labels that the data separate; empty if none.
    """
    if worst is Outcome.MAX_ITER:
        doubt = "; with C=inf there may be no finite optimum" if np.inf == C else ""
        return (
            f"{name} stopped before its optimum was certified: max_iter={max_iter} was reached{doubt}. Raise max_iter, "
            f"or tol if a gap of this size is small enough. ({reached})"
        )
    if worst is Outcome.STOPPED:
        return f"{name}: a callback stopped the fit before its optimum was certified. ({reached})"
    if worst is Outcome.CERTIFIED:
        return (
            f"{name}: rounding of the stored coefficients increases the optimality gap above tol. If columns of X are "
            f"far from 0, subtract their means; otherwise raise tol. ({reached})"
        )
    if separated and np.inf == C:
        return (
            f"{name}: no finite optimum exists with C=inf, because the data separate {separated}: the loss falls as "
            f"long as the coefficients grow. Set a finite C, or label_smoothing. ({reached})"
        )
    if separated:
        return (
            f"{name}: the data separate {separated}, and in the units of X the penalty is too weak to bound the "
            f"coefficients. Lower C or scale X, for example with StandardScaler. ({reached})"
        )
    if np.inf == C:
        return (
            f"{name}: with C=inf no finite optimum could be certified. Either a combination of features separates "
            f"classes, perhaps on some rows only, so that no finite optimum exists; or there are more than 2,000 "
            f"coefficients, too many for a certificate. Set a finite C. ({reached})"
        )
    if tol < _EPS:
        return f"{name}: tol={tol:g} is smaller than floating point can certify. Raise tol. ({reached})"
    return (
        f"{name} stopped before its optimum was certified: rounding errors prevent further progress. Raise tol or "
        f"lower C. Linearly dependent columns, or columns of very different scales, may be the cause. ({reached})"
    )
