"""Bounds on optimality gaps against longhand, since a bound that is only a little too small is easily overlooked."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skactivation._data.indicators import Indicator
from skactivation._data.rows import rows_of
from skactivation._data.targets import BinaryTargets, ClassTargets, IndicatorTargets
from skactivation._optimize import certificate
from skactivation._optimize.objective import Curvature, Sample
from skactivation._optimize.preconditioner import Preconditioner, _inverse_of_nearby_factor, _is_sharp, precondition
from skactivation._optimize.problems import Evaluate
from skactivation.linear_model._objective import LinearObjective

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 3)) * [1, 3, 0.2]
LABELS = RNG.integers(3, size=60)
FOLDS = np.stack([(np.arange(60) % 2 == fold) * RNG.random(60) for fold in (0, 1)])


def two_softmax_problems():
    rows = rows_of(X, ClassTargets(LABELS, 3), FOLDS, n_outputs=6, fit_intercept=True)
    return LinearObjective(rows, np.array([0.5, 2.0]))


def three_labels():
    targets = IndicatorTargets(Indicator(np.eye(3)[LABELS]), None)
    return LinearObjective(rows_of(X, targets, None, fit_intercept=True), 0.5)


def spreads(inverse):
    """The largest spread of intercepts in steps of length 1: over pairs of classes, or the label's own."""
    n_logits = len(inverse)
    if n_logits == 1:
        return np.sqrt(inverse[0, 0])
    pairs = [np.eye(n_logits)[k] - np.eye(n_logits)[other] for k in range(n_logits) for other in range(n_logits)]
    return max(np.sqrt(pair @ inverse @ pair) for pair in pairs)


def positive_definite(n_matrices, size):
    roots = RNG.normal(size=(n_matrices, size, size + 1))
    return roots @ roots.transpose(0, 2, 1)


def test_the_safe_length_of_a_step_is_log_of_1_plus_a_over_a():
    ranges = np.array([0.0, 1e-9, 0.3, 1.0, 40.0])
    expected = [1.0, 1.0, np.log(1.3) / 0.3, np.log(2), np.log(41) / 40]
    assert_allclose(certificate.safe_step_lengths(ranges), expected, rtol=1e-9)


@pytest.mark.parametrize("n_logits", [1, 4])
def test_spreads_of_intercepts(n_logits):
    steps, inverses = RNG.normal(size=(3, n_logits)), positive_definite(3, n_logits)
    expected = [np.ptp(step) if n_logits > 1 else abs(step[0]) for step in steps]
    assert_allclose(certificate._range_of_step(steps), expected)
    assert_allclose(certificate._range_of_unit_steps(inverses), [spreads(inverse) for inverse in inverses])


def test_inverses_are_nan_where_there_are_none():
    good = positive_definite(2, 3) * [[1e-6, 1e-3, 1e-3]] * np.array([[1e-6], [1e-3], [1e-3]])
    singular = np.ones((3, 3))
    slightly_negative = np.eye(3) - (1 / 3 + 1e-13) * np.ones((3, 3))
    stack = np.stack([np.full((3, 3), np.nan), good[0], singular, slightly_negative, good[1]])
    inverses = certificate._inverses(stack)
    assert np.isnan(inverses[[0, 2, 3]]).all()
    # A little of the diagonal has been taken away: the inverse is no smaller than the true one.
    for inverse, matrix in zip(inverses[[1, 4]], good, strict=True):
        assert_allclose(inverse @ matrix, np.eye(3), atol=1e-7)
        assert np.all(np.diag(inverse) >= np.diag(np.linalg.inv(matrix)))


@pytest.mark.parametrize("make", [two_softmax_problems, three_labels])
@pytest.mark.parametrize("travelled", [0.0, 0.4])
def test_a_bound_with_intercepts_off_their_minimum_is_the_one_derived(make, travelled):
    objective = make()
    n_problems = objective.shape[0]
    theta = np.random.default_rng(1).normal(size=objective.shape) * 0.1
    objective.center(theta)
    point = Evaluate()(objective, theta)
    # Small gradients by the intercepts: else there is no bound at all.
    point.gradient[:, :, -1] *= 1e-3
    inverses = certificate._inverses(objective.intercept_hessian(theta))
    bound = certificate._bound_with_intercepts(objective, point, inverses, np.full(n_problems, travelled))
    rounding = objective.gradient_rounding(point.values)
    for p in range(n_problems):
        gradient, penalty = point.gradient[p], objective.penalty[p, :, :-1]
        growth = np.exp(0.5 * spreads(inverses[p]) * travelled)
        spread = spreads(inverses[p]) * growth
        norm = growth * np.sqrt(gradient[:, -1] @ inverses[p] @ gradient[:, -1])
        assert 0 < spread * norm < 1
        length = -np.log(1 - spread * norm) / spread
        drift = np.exp(spread * length) * length * np.sqrt(objective.largest_curvature[p])
        a = spread * norm
        own = (a + (1 - a) * np.log(1 - a)) / spread**2 if a > 1e-3 else 0.5 * norm**2 * (1 + a)
        others = np.sum((np.abs(gradient[:, :-1]) + rounding[p] + drift) ** 2 / (2 * penalty))
        assert_allclose(bound.gaps[p], own + others, rtol=1e-6)
        assert_allclose(bound.norms[p], norm, rtol=1e-9)
        assert_allclose(bound.steps[p], inverses[p] @ gradient[:, -1], rtol=1e-9)


def test_there_is_no_bound_where_intercepts_are_too_far_off():
    objective = two_softmax_problems()
    theta = np.zeros(objective.shape)
    point = Evaluate()(objective, theta)
    inverses = certificate._inverses(objective.intercept_hessian(theta))
    norms = certificate._bound_with_intercepts(objective, point, inverses, np.zeros(2)).norms
    for product in (1.0001, 1.5, 3.0):
        factors = product / (norms * [spreads(inverse) for inverse in inverses])
        far = point._replace(gradient=point.gradient * factors[:, np.newaxis, np.newaxis])
        assert np.isinf(certificate._bound_with_intercepts(objective, far, inverses, np.zeros(2)).gaps).all()


@pytest.mark.parametrize("make", [two_softmax_problems, three_labels])
def test_bounds_by_strong_convexity_hold_for_each_problem(make):
    objective, evaluate = make(), Evaluate()
    best = evaluate(objective, np.zeros(objective.shape))
    for _ in range(30):
        step = np.linalg.solve(objective.hessian(best.theta), best.gradient.reshape(objective.shape[0], -1, 1))
        best = evaluate(objective, best.theta - step.reshape(objective.shape))
    # The problems are at different distances from their minima, with intercepts far off.
    sizes = np.array([1e-3, 1e-1, 1e-2])[: objective.shape[0], np.newaxis, np.newaxis]
    off = best.theta + sizes * np.random.default_rng(2).normal(size=objective.shape)
    off[:, :, -1] += 2
    off[:, 0, -1] -= 1
    point, bounds = certificate.strong_convexity_bounds(objective, evaluate(objective, off), 1e-12, evaluate)
    gaps = point.values - best.values
    assert np.all(gaps > 0)
    assert np.all(gaps <= bounds)
    # Strong convexity knows the penalty only, whatever the rows add to the curvature.
    assert np.all(bounds < 2000 * gaps)


def test_a_nearby_factor_changes_the_matrix_by_as_little_as_there_is():
    # Of rank 2: only a ridge makes it positive definite.
    root = RNG.normal(size=(4, 2)) * [[1], [1e-4], [1], [1e3]]
    matrix = root @ root.T
    inverse = _inverse_of_nearby_factor(matrix)
    factor = np.linalg.inv(inverse)
    scale = np.sqrt(np.outer(np.diag(matrix), np.diag(matrix)))
    assert np.all(np.abs(factor @ factor.T - matrix) <= 2e-8 * scale)
    assert _inverse_of_nearby_factor(np.array([[1.0, 2.0], [2.0, 1.0]])) is None


def test_a_hessian_is_sharp_if_its_rounding_is_little_in_all_directions():
    inverse = np.array([[1.0, 0.0], [9.0, 10.0]])
    # The diagonal of the inverse matrix L^-T L^-1 is (82, 100).
    for allowance in ([0.29 / 82, 0.0], [0.0, 0.29 / 100]):
        assert _is_sharp(inverse, np.array(allowance))
        assert not _is_sharp(inverse, np.array(allowance) * 1.1)
    assert not _is_sharp(None, np.zeros(2))


@pytest.mark.parametrize("share", [1.0, 0.04])
@pytest.mark.parametrize("make", [three_labels, two_softmax_problems])
def test_the_first_bound_of_a_certificate_is_the_one_of_self_concordance(make, share):
    objective = make()
    point = Evaluate()(objective, np.zeros(objective.shape))
    for _ in range(6):
        made = precondition(objective, point.theta, Curvature.WHOLE)
        step = made.to_coefficients(made.to_coordinates(point.gradient))
        point = Evaluate()(objective, point.theta - 0.9 * step)
    # Twenty-five times the Hessian stands for that of a sample: a share of 0.04 of it is the Hessian.
    inverses = np.linalg.inv(np.linalg.cholesky(objective.hessian(point.theta) / share))
    made = Preconditioner(inverses, objective.shape, bounds_hessian=np.array([True] * len(inverses)), share=share)
    travelled = np.full(len(inverses), 0.01)
    _, gaps = certificate.certify(objective, point, made, travelled, 1.0, Evaluate())
    for p, gap in enumerate(gaps):
        inverse = np.linalg.inv(np.linalg.cholesky(objective.hessian(point.theta)[p]))
        longest = np.linalg.norm(inverse)
        length = objective.logit_range_bound(np.full(len(gaps), longest))[p]
        growth = np.exp(0.5 * length * travelled[p] * np.sqrt(share))
        rounding = objective.gradient_rounding(point.values)[p] * np.sqrt(len(inverse)) * longest
        norm = growth * (np.linalg.norm(inverse @ point.gradient[p].ravel()) + rounding)
        a = growth * length * norm
        expected = (a + (1 - a) * np.log1p(-a)) / (growth * length) ** 2 if a > 1e-3 else 0.5 * norm**2 * (1 + a)
        expected = expected / point.values[p] + objective.value_rounding(point.theta)[p]
        assert_allclose(gap, expected, rtol=1e-6)


def test_a_certificate_from_a_sample_holds_where_the_sample_overstates_the_curvature():
    rng = np.random.default_rng(0)
    X = np.zeros((400, 3))
    X[:, 0], X[7, 1], X[9, 2] = rng.normal(size=400), 1.0, 1.0
    targets = BinaryTargets((rng.random(400) < 0.4).astype(int))
    objective = LinearObjective(rows_of(X, targets, None, fit_intercept=True), 1e-3)
    point = Evaluate()(objective, np.zeros(objective.shape))
    for _ in range(12):
        made = precondition(objective, point.theta, Curvature.WHOLE)
        step = made.to_coefficients(made.to_coordinates(point.gradient))
        point = Evaluate()(objective, point.theta - min(1.0, 1 / np.abs(step).max()) * step)
    off = point.theta.copy()
    off[0, 0, 1] += 1e-3
    stands_for = np.ones(400)
    stands_for[7] = 50.0
    sample = Sample(objective.on(objective.rows.take(np.arange(400), stands_for)), 50.0)
    made = precondition(objective, off, Curvature.WHOLE, sample=sample)
    there = Evaluate()(objective, off)
    reached, gaps = certificate.certify(objective, there, made, np.zeros(1), 1.0, Evaluate())
    true_gap = (reached.values[0] - point.values[0]) / reached.values[0]
    assert 0 < true_gap <= gaps[0] < 100 * true_gap
    # What the sample alone would say is too little.
    assert made.decrements(there.gradient)[0] < 0.2 * (there.values[0] - point.values[0])
