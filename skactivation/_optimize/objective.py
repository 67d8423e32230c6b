"""What the solver minimises: P separate problems of K logits each, with what preconditioners and certificates need."""

from abc import ABC, abstractmethod
from enum import Enum
from typing import Any, NamedTuple, Self

import numpy as np

from skactivation._typing import Array


class Curvature(Enum):
    """A matrix that stands for the Hessian of each problem, the most expensive first."""

    WHOLE = "the Hessian itself"
    BLOCKS = "its diagonal blocks, one for each logit"
    SHARED_BLOCKS = "the means of these blocks over the problems, one for each logit"
    MEAN_BLOCK = "the mean of all these blocks, times a number for each logit"
    DIAGONAL = "its diagonal"


class Costs(NamedTuple):
    """What the choice of a preconditioner depends on, besides the shape. Costs are in floating-point operations."""

    n_rows: int
    n_entries: float
    """Entries of the data that an evaluation reads."""
    gram_cost: float
    """Cost of the products of all columns with each other."""
    logit_cost: float
    """Cost of the loss for one logit of one row."""
    alike: bool = False
    """Whether the problems are nearly the same, so that they may share blocks of the Hessian."""


class Sample(NamedTuple):
    """A sample of the rows; the weights of each make up for the rows that it stands for."""

    objective: "Objective"
    """The problems on these rows."""
    most_rows_each: float
    """How many rows of the data, itself included, one of the sample stands for at most."""

    def select(self, problems: Any) -> "Sample":
        """The sample with some of the problems, given by a mask (P,) or `ALL`."""
        return self._replace(objective=self.objective.select(problems))


class Objective(ABC):
    """P convex functions of coefficients (P, K, D): each a cross-entropy of K logits that are linear in them.

    A problem with K > 1 is a softmax over its logits, one with K = 1 a sigmoid. m = K D is the number of coefficients
    of a problem. The solver asks only for the curvatures in `offers`. Where `is_strongly_convex`, the certificate asks
    for `intercept_hessian` and `largest_curvature`, too: the last column then may be an intercept without a penalty.
    """

    shape: tuple[int, int, int]
    """Shape (P, K, D) of the coefficients."""
    penalty: Array
    """Strength (P, K, D) of the penalty on each coefficient: half of it times the square is part of the value."""
    has_tiny_weights: Array
    """Whether some rows have weights so tiny that a problem's value (P,) hardly depends on them."""
    offers: frozenset[Curvature]
    """What preconditioners can be made of."""
    is_strongly_convex: bool = False
    """Whether all coefficients but intercepts are penalised."""
    is_single: bool = False
    """Whether evaluations are in single precision."""

    @abstractmethod
    def select(self, problems: Any) -> Self:
        """Some of the problems, given by a mask (P,) or `ALL`."""

    @abstractmethod
    def center(self, theta: Array) -> None:
        """Remove from coefficients, in place, what changes no value."""

    @abstractmethod
    def value_and_gradient(self, theta: Array) -> tuple[Array, Array]:
        """The value of each problem (P,) and its gradient (P, K, D)."""

    @abstractmethod
    def hessian(self, theta: Array) -> Array:
        """The Hessian of each problem (P, m, m), made regular in directions in which the value does not change."""

    def value_gradient_and_hessian(self, theta: Array) -> tuple[Array, Array, Array]:
        """What `value_and_gradient` and `hessian` return; in one pass, where the objective can."""
        return *self.value_and_gradient(theta), self.hessian(theta)

    @abstractmethod
    def hessian_rounding(self, hessian: Array) -> Array:
        """Sizes (P, m) of the sums behind the diagonals of `hessian`: rounding is relative to them."""

    @abstractmethod
    def value_rounding(self, theta: Array) -> Array:
        """A bound (P,) on the rounding of each problem's value, relative to it."""

    def gradient_rounding(self, values: Array) -> Array:
        """A bound (P,) on the rounding of each derivative in double precision, where the problems have some values."""
        return np.zeros(self.shape[0])

    @abstractmethod
    def logit_range(self, step: Array) -> Array:
        """How far a step (P, K, D) spreads the logits of any row, for each problem (P,).

        That is the largest difference of two logits of the step, or the absolute value where K = 1.
        """

    @abstractmethod
    def logit_range_bound(self, length: Array) -> Array:
        """A bound (P,) on `logit_range` for steps of Euclidean lengths (P,), without a pass over the rows."""

    @abstractmethod
    def largest_logit_range(self, inverse: Array) -> Array:
        """The largest `logit_range` (P,) of steps of length 1 in the Hessians' norm, given the inverses (P, m, m)."""

    def hessian_diagonal(self, theta: Array) -> Array:
        """The diagonal (P, K, D) of the Hessian."""
        diagonal: Array = np.einsum("pjj->pj", self.hessian(theta)).reshape(self.shape)
        return diagonal

    def in_single_precision(self) -> Self:
        """Make evaluations in single precision, where they are worth it: return another objective, or this one."""
        return self

    def in_double_precision(self) -> Self:
        """Make evaluations in double precision: return another objective, or this one."""
        return self

    def has_uniform_curvature(self, theta: Array) -> bool:
        """Whether all rows have the same curvature: then `hessian_blocks` costs no more than `mean_hessian_block`."""
        return False

    @property
    def costs(self) -> Costs:
        """What evaluations and curvatures cost."""
        raise self._missing("costs")

    def hessian_blocks(self, theta: Array) -> Array:
        """The diagonal blocks (P, K, D, D) of the Hessian."""
        raise self._missing("blocks of the Hessian")

    def shared_hessian_blocks(self, theta: Array) -> Array:
        """The means (K, D, D) of these blocks over the problems."""
        raise self._missing("blocks that problems share")

    def mean_hessian_block(self, theta: Array) -> tuple[Array, Array]:
        """The mean (D, D) of these blocks, and each one's share in the curvature (P, K), with mean 1."""
        raise self._missing("a mean block of the Hessian")

    def sample(self, theta: Array, n_rows: int) -> "Sample":
        """A sample of rows, drawn by their shares in the curvature of each logit."""
        raise self._missing("samples")

    def intercept_hessian(self, theta: Array) -> Array:
        """The Hessian of each problem by its intercepts alone (P, K, K), made regular as `hessian` is."""
        raise self._missing("intercepts")

    @property
    def largest_curvature(self) -> Array:
        """A bound (P,) on the diagonal of the Hessian without the penalty, at any point."""
        raise self._missing("a bound on the curvature")

    def _missing(self, what: str) -> Exception:
        return TypeError(f"{type(self).__name__} does not offer {what}")
