"""Which curvature a preconditioner is made of, and how long it serves: the cost model, alone.

Costs are in floating-point operations. An entry that is read, a call and an exponential are converted into that unit.
`n_preconditioners` and `n_evaluations` of the strategies below are typical of raw, correlated features, as the
benchmarks have them.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from skactivation._optimize.objective import Costs, Curvature, Objective

# The most elements that a preconditioner may hold, 32 MB; making one takes at most three times as much memory. More
# would allow larger Hessians, at the price of memory.
_MOST_ELEMENTS = 2**22
# Largest m = K D for which the whole Hessian is formed where no other preconditioner gets on, or gives a certificate.
# Above, its factorisation takes seconds.
_WHOLE_HESSIAN = 2000
# Rows of a sample at least: with fewer, the sample's curvature is too far from that of all rows. A sample of more than
# some share of the rows costs about as much as all of them.
_LEAST_SAMPLE, _LARGEST_SAMPLE_SHARE = 4096, 0.3
# For problems of one logit, Newton steps and certificates are made of the sample.
_LEAST_SAMPLE_OF_ONE_LOGIT, _LARGEST_SAMPLE_SHARE_OF_ONE_LOGIT = 6000, 0.5
# Several problems are minimised together, as many at a time as memory allows. For fewer than these, reading the data
# costs most, so that a Hessian for each problem does not pay.
_FEWEST_PROBLEMS = 8
# The shortest and the longest stage of L-BFGS for several problems with one preconditioner: shorter stages lose the
# memory of L-BFGS, longer ones use a Hessian that is out of date.
_STAGE_LENGTHS = 8, 32
# The same for the first stage of one problem with a preconditioner of blocks.
_FIRST_STAGE = 2, 3
# Operations that a call of NumPy, an evaluation and the making of a preconditioner cost besides arithmetic: with
# smaller numbers small data would get the strategies of large data, which make more calls.
_CALL, _OVERHEAD = 1e5, 1e6
# Operations for reading an entry once, in units of one for a product.
_READING = 16


@dataclass(frozen=True)
class Strategy:
    """A way to a minimum: what preconditioners are made of, and how long each one serves."""

    curvature: Curvature
    sampled: bool
    """Whether a sample of the rows is enough for a preconditioner until the end is near."""
    newton: bool
    """Whether Newton's method is tried from the start."""
    shortest: int
    """Iterations of L-BFGS with the first preconditioner; they double from one to the next."""
    longest: int
    """Most iterations of L-BFGS with one preconditioner."""
    n_preconditioners: int
    """How many preconditioners a fit takes, typically."""
    n_evaluations: int
    """How many evaluations a fit takes, typically."""
    near: float = 1e-3
    """The relative gap, estimated with the Hessian, from which on Newton steps and a certificate are tried."""
    useful: float = 0.01
    """A Newton step that leaves less than this share of the gradient is followed by another with the same Hessian."""


# Far from the optimum a Hessian is soon out of date; the less a preconditioner says, the more the memory of L-BFGS is
# worth: hence the longer stages further down.
NEWTON = Strategy(Curvature.WHOLE, False, newton=True, shortest=4, longest=8, n_preconditioners=6, n_evaluations=9)
_WHOLE = replace(NEWTON, newton=False, n_preconditioners=4, n_evaluations=18)
_BLOCKS = Strategy(Curvature.BLOCKS, False, newton=False, shortest=2, longest=16, n_preconditioners=4, n_evaluations=28)
_MEAN_BLOCK = Strategy(
    Curvature.MEAN_BLOCK, False, newton=False, shortest=12, longest=100, n_preconditioners=4, n_evaluations=100
)
_DIAGONAL = Strategy(
    Curvature.DIAGONAL, False, newton=False, shortest=8, longest=128, n_preconditioners=4, n_evaluations=150
)
_CHEAP = [_MEAN_BLOCK, replace(_MEAN_BLOCK, sampled=True, n_evaluations=110), _DIAGONAL]
_FOR_ONE_PROBLEM = [NEWTON, _WHOLE, _BLOCKS, replace(_BLOCKS, sampled=True, n_evaluations=36), *_CHEAP]
# A Newton step with the Hessian of a sample gains less.
_SAMPLED_FOR_ONE_LOGIT = replace(_WHOLE, sampled=True, near=1e-5, useful=0.6)
_FOR_ONE_LOGIT = [*_FOR_ONE_PROBLEM, _SAMPLED_FOR_ONE_LOGIT]
# For problems of one logit the Hessian is the block of that logit.
_WHOLE_FOR_SEVERAL = replace(
    _WHOLE, shortest=12, longest=16, n_preconditioners=3, n_evaluations=22, near=1e-4, useful=0.3
)
_SAMPLED_FOR_SEVERAL = replace(_WHOLE_FOR_SEVERAL, sampled=True, near=3e-5, useful=0.6)
# Fits to most of the rows start near their minima, and end far below tol.
_SHARED_BLOCKS = Strategy(
    Curvature.SHARED_BLOCKS, False, newton=False, shortest=8, longest=16, n_preconditioners=4, n_evaluations=50
)
_FOR_SEVERAL_PROBLEMS = [NEWTON, _WHOLE_FOR_SEVERAL, _SAMPLED_FOR_SEVERAL, *_CHEAP]


# Searches fit many data of the same shape.
@lru_cache(maxsize=128)
def cheapest_strategy(shape: tuple[int, int, int], costs: Costs, *, has_penalty: bool = True) -> tuple[Strategy, float]:
    """The strategy that is expected to cost least for P problems of K logits and D columns, and its cost."""
    n_problems, n_logits, n_columns = shape
    size = n_logits * n_columns
    # Without a penalty only a Hessian gives a certificate: one problem at a time, if need be.
    fewest = _FEWEST_PROBLEMS if has_penalty else 1
    evaluation = (4 * n_problems * n_logits + _READING) * costs.n_entries + _OVERHEAD
    evaluation += costs.logit_cost * costs.n_rows * n_problems * n_logits

    def last_is_whole(strategy: Strategy) -> bool:
        return strategy.sampled and strategy.curvature is Curvature.WHOLE and not has_penalty

    def cost(strategy: Strategy) -> float:
        return (
            strategy.n_preconditioners * _preconditioner_cost(strategy, shape, costs, evaluation, fewest)
            + strategy.n_evaluations * (evaluation + (0 if strategy.newton else _OVERHEAD))
            # Two passes tell which rows belong into a sample.
            + (2 * evaluation if strategy.sampled else 0)
            # Without a penalty, a certificate takes a Hessian of all rows.
            + (n_problems * costs.gram_cost if last_is_whole(strategy) else 0)
        )

    strategies = _FOR_SEVERAL_PROBLEMS
    if n_problems == 1:
        strategies = _FOR_ONE_LOGIT if n_logits == 1 else _FOR_ONE_PROBLEM
    elif costs.alike:
        strategies = [*_FOR_SEVERAL_PROBLEMS, _SHARED_BLOCKS, replace(_SHARED_BLOCKS, sampled=True)]
    if n_problems > 1 and not has_penalty and size**2 <= _MOST_ELEMENTS:
        strategies = [strategy for strategy in strategies if strategy.curvature is Curvature.WHOLE] or strategies
    best = min(strategies, key=cost)
    # A preconditioner that costs as much as 12 evaluations serves 12 iterations.
    ratio = _preconditioner_cost(best, shape, costs, evaluation, fewest) / evaluation
    if n_problems > 1 and best.curvature is Curvature.WHOLE:
        length = int(np.clip(ratio, *_STAGE_LENGTHS))
        best = replace(best, shortest=length, longest=length)
    elif best.curvature is Curvature.BLOCKS:
        # The first one, made far from the minimum, serves fewer.
        best = replace(best, shortest=int(np.clip(ratio, *_FIRST_STAGE)))
    return best, cost(best)


def _preconditioner_cost(
    strategy: Strategy, shape: tuple[int, int, int], costs: Costs, evaluation: float, fewest: int
) -> float:
    """What a preconditioner costs; infinite where it has too many elements, or where another is the same for less."""
    n_problems, n_logits, n_columns = shape
    size, n_outputs = n_logits * n_columns, n_problems * n_logits
    sample_share = sample_size(shape) / costs.n_rows
    gram = (sample_share if strategy.sampled else 1) * costs.gram_cost + _CALL
    # For several problems of several logits, one product of column pairs gives all blocks.
    of_whole = gram - (_CALL if n_problems > 1 and n_logits > 1 else 0)
    block_factor = 2 / 3 * n_columns**3
    n_grams = n_problems * (n_logits * (n_logits + 1) // 2)
    cost, n_elements = {
        Curvature.WHOLE: (n_grams * of_whole + n_problems * 2 / 3 * size**3, size**2 * min(n_problems, fewest)),
        Curvature.BLOCKS: (n_outputs * (gram + block_factor + _CALL), n_outputs * n_columns**2 // n_problems),
        Curvature.SHARED_BLOCKS: (n_logits * (gram + block_factor + _CALL), n_logits * n_columns**2),
        Curvature.MEAN_BLOCK: (gram + block_factor, n_columns**2),
        Curvature.DIAGONAL: (evaluation, 0),
    }[strategy.curvature]
    same_as_whole = n_outputs == 1 and strategy.curvature in (Curvature.BLOCKS, Curvature.MEAN_BLOCK)
    largest_share = _LARGEST_SAMPLE_SHARE_OF_ONE_LOGIT if n_logits == 1 else _LARGEST_SAMPLE_SHARE
    if n_elements > _MOST_ELEMENTS or same_as_whole or (strategy.sampled and sample_share > largest_share):
        return np.inf
    return cost + _OVERHEAD


def stronger_strategy(strategy: Strategy, objective: Objective) -> Strategy | None:
    """The next strategy whose preconditioner says more, whatever it costs, for data on which one does not get on."""
    n_problems, n_logits, n_columns = objective.shape
    if strategy.sampled:
        return replace(strategy, sampled=False)
    if strategy.newton:
        return _WHOLE if n_problems == 1 else _WHOLE_FOR_SEVERAL
    is_diagonal, is_whole = (strategy.curvature is kind for kind in (Curvature.DIAGONAL, Curvature.WHOLE))
    if is_diagonal and n_columns**2 <= _MOST_ELEMENTS and Curvature.MEAN_BLOCK in objective.offers:
        return _MEAN_BLOCK
    if n_problems > 1:
        fits = (n_logits * n_columns) ** 2 <= _MOST_ELEMENTS
        return _WHOLE_FOR_SEVERAL if fits and not is_whole else None
    cheap = strategy.curvature in (Curvature.DIAGONAL, Curvature.MEAN_BLOCK)
    if cheap and n_logits * n_columns**2 <= _MOST_ELEMENTS and Curvature.BLOCKS in objective.offers:
        return _BLOCKS
    if not is_whole and n_logits * n_columns <= _WHOLE_HESSIAN:
        return _WHOLE
    return None


def problems_at_once(strategy: Strategy, shape: tuple[int, int, int]) -> int:
    """How many of several problems are minimised together."""
    n_problems, n_logits, n_columns = shape
    if n_problems == 1 or strategy.curvature is not Curvature.WHOLE:
        return n_problems
    return min(n_problems, max(1, _MOST_ELEMENTS // (n_logits * n_columns) ** 2))


def sample_size(shape: tuple[int, int, int]) -> int:
    """Rows of a sample whose curvature is close enough to that of all rows."""
    n_problems, n_logits, n_columns = shape
    if n_logits == 1:
        return max(_LEAST_SAMPLE_OF_ONE_LOGIT, 20 * n_columns)
    return max(_LEAST_SAMPLE, (3 if n_problems == 1 else 20) * n_logits * n_columns)
