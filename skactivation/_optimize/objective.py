"""What the solver minimises: a sum of separate parts, each with a value, a gradient, a Hessian and bounds on logits."""

from abc import ABC, abstractmethod
from typing import Self

from skactivation._typing import Array

__all__ = ["Objective"]


class Objective(ABC):
    """A convex function of coefficients theta (K, D) in P parts: cross-entropies of logits that are linear in theta.

    Where P > 1, each row of theta belongs to a part of its own. This is all that a plan with the whole Hessian needs;
    other kinds of metric, and bounds that a penalty gives, are for linear models alone (`as_linear`).
    """

    shape: tuple[int, int]
    """Shape (K, D) of the coefficients."""
    n_parts: int
    """Parts P."""
    is_coarse: bool
    """Whether evaluations need not be exact until a proof is at stake."""
    penalty: Array
    """Strength (K, D) of the penalty on each coefficient."""

    @property
    @abstractmethod
    def has_penalty(self) -> bool:
        """Whether the function is strongly convex in all coefficients but intercepts."""

    @property
    @abstractmethod
    def has_light_rows(self) -> Array:
        """Whether some rows weigh so little beside others that a part's value (P,) hardly depends on them."""

    @abstractmethod
    def select(self, parts: Array) -> Self:
        """Some of several parts, given by a mask (P,)."""

    @abstractmethod
    def center(self, theta: Array) -> None:
        """Take from coefficients what changes nothing."""

    @abstractmethod
    def value_and_gradient(self, theta: Array, *, exact: bool = True) -> tuple[Array, Array]:
        """The value of each part (P,) and the gradient (K, D)."""

    @abstractmethod
    def hessian(self, theta: Array, *, exact: bool = True) -> Array:
        """The Hessian of each part (P, m, m), made regular in directions in which nothing changes."""

    @abstractmethod
    def hessian_diagonal(self, theta: Array) -> Array:
        """Its diagonal (K, D)."""

    @abstractmethod
    def rounding(self, hessian: Array) -> Array:
        """What sizes the sums (P, m) behind the diagonals of `hessian` had: rounding is relative to them."""

    @abstractmethod
    def rounding_of_value(self, theta: Array) -> Array:
        """How much of each part's value (P,), relatively, rounding may take."""

    @abstractmethod
    def logit_range(self, step: Array) -> Array:
        """How far a step (K, D) spreads the logits of a row, at most, for each part (P,)."""

    @abstractmethod
    def crude_logit_range(self, length: Array) -> Array:
        """The same for steps of some lengths (P,)."""

    @abstractmethod
    def largest_logit_range(self, inverse: Array) -> Array:
        """The same for steps of length 1 in the norm of each part's Hessian, given the inverses (P, m, m)."""

    def has_even_curvature(self, theta: Array) -> bool:
        """Whether all rows have the same curvature."""
        return False
