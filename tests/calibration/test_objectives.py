"""The objectives of calibration: values and derivatives against longhand, bounds against what they bound."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import approx_fprime

from skactivation._data.indicators import Indicator
from skactivation._data.targets import ClassTargets, IndicatorTargets
from skactivation._optimize.objective import Curvature
from skactivation._optimize.preconditioner import precondition
from skactivation._threads import single_threaded_blas
from skactivation.calibration import _logits
from skactivation.calibration._affine_objective import AffineObjective
from skactivation.calibration._logits import LogitRowsInBlocks, prepare, smallest_margins
from skactivation.calibration._temperature import _Loss
from skactivation.losses import sigmoid_cross_entropy, softmax_cross_entropy

rng = np.random.default_rng(0)
N, K = 200, 4
Z = rng.normal(size=(N, K)) * 2
CODES = rng.integers(K, size=N)
WEIGHTS = rng.integers(0, 3, size=N).astype(float)
LABELS = rng.choice([0.0, 1.0, 0.3, np.nan], size=(N, K))
LABELS[0] = 1


@pytest.fixture(params=[2**17, 2**7], ids=["one block", "many blocks"], autouse=True)
def block_size(request, monkeypatch):
    monkeypatch.setattr(_logits, "_BLOCK_SIZE", request.param)
    with single_threaded_blas, np.errstate(all="ignore"):
        yield


def exclusive():
    return LogitRowsInBlocks(Z, ClassTargets(CODES, K), WEIGHTS)


def several():
    targets = IndicatorTargets(Indicator(LABELS), WEIGHTS)
    return LogitRowsInBlocks(Z, targets, targets.row_weights)


def losses(make, z):
    """Each part's sum of cross-entropies, in longhand."""
    if make is exclusive:
        return np.array([softmax_cross_entropy(z, CODES, sample_weight=WEIGHTS, reduction="sum")])
    entries = sigmoid_cross_entropy(z, LABELS, sample_weight=WEIGHTS, reduction="none")
    return np.nansum(entries, axis=0)


def affine(make, shared):
    rows, _ = prepare(make())
    return AffineObjective(rows, shared=shared)


def loss_of(make, chosen=slice(None)):
    rows, summary = prepare(make())
    mask = np.zeros(rows.n_problems, dtype=bool)
    mask[chosen] = True
    return _Loss.of(rows, summary, mask)


@pytest.mark.parametrize("make", [exclusive, several])
def test_the_loss_at_a_temperature_and_its_derivatives(make):
    loss = loss_of(make)
    beta = np.linspace(0.4, 0.9, loss.problems.size)

    def slopes_at(beta):
        _, of_targets, means, _ = loss.at(beta)
        return (of_targets - means) / beta

    values, _, _, curvatures = loss.at(beta)
    assert_allclose(values, losses(make, Z * beta), rtol=1e-13)
    h = 1e-5
    expected = (losses(make, Z * (beta + h)) - losses(make, Z * (beta - h))) / (2 * h)
    assert_allclose(slopes_at(beta), expected, rtol=1e-6)
    rise = slopes_at(beta + h) - slopes_at(beta - h)
    assert_allclose(curvatures / beta**2, rise / (2 * h), rtol=1e-6)


@pytest.mark.parametrize(("make", "shared"), [(exclusive, True), (exclusive, False), (several, True)])
def test_an_affine_objective_and_its_derivatives(make, shared):
    objective = affine(make, shared)
    theta = rng.normal(size=objective.shape) * 0.3 + 0.5
    objective.center(theta)

    def loss(flat):
        slopes, biases = objective.slopes_and_biases(flat.reshape(objective.shape))
        return losses(make, Z * slopes + biases)

    values, gradient = objective.value_and_gradient(theta)
    assert_allclose(values, loss(theta.ravel()), rtol=1e-12)
    assert_allclose(gradient.ravel(), approx_fprime(theta.ravel(), lambda t: loss(t).sum(), 1e-7), rtol=1e-4, atol=1e-4)
    hessian = objective.hessian(theta)
    wanted = rng.normal(size=objective.shape)
    objective.center(wanted)
    step = np.linalg.solve(hessian, wanted.reshape(len(hessian), -1, 1)).reshape(objective.shape)
    objective.center(step)
    ahead, behind = (objective.value_and_gradient(theta + h * step)[1] for h in (1e-4, -1e-4))
    assert_allclose((ahead - behind) / 2e-4, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("make", "shared"), [(exclusive, True), (exclusive, False), (several, True)])
def test_bounds_on_how_far_a_step_spreads_logits_hold(make, shared):
    objective = affine(make, shared)
    theta = objective.start(np.full(objective.shape[0], 0.5))
    hessian = objective.hessian(theta)
    inverse = np.linalg.inv(hessian)
    counts = WEIGHTS > 0
    for _ in range(200):
        step = rng.normal(size=objective.shape)
        slopes, biases = objective.slopes_and_biases(step)
        moved = (Z * slopes + biases)[counts]
        spread = np.ptp(moved, axis=1).max(keepdims=True) if make is exclusive else np.nanmax(np.abs(moved), axis=0)
        known = ~np.isnan(LABELS[counts])
        if make is several:
            spread = np.max(np.abs(moved) * known, axis=0)
        flat = step.reshape(len(hessian), -1)
        length = np.sqrt(np.einsum("pi,pij,pj->p", flat, hessian, flat))
        assert np.all(spread <= objective.logit_range(step) * (1 + 1e-12))
        assert np.all(spread <= objective.largest_logit_range(inverse) * length * (1 + 1e-12))
        assert np.all(spread <= objective.logit_range_bound(np.linalg.norm(flat, axis=1)) * (1 + 1e-12))


def test_some_problems_are_what_they_are_among_all():
    beta = np.linspace(0.4, 0.9, K)
    chosen = np.array([True, False, True, True])
    for array, of_some in zip(loss_of(several).at(beta), loss_of(several, chosen).at(beta[chosen]), strict=True):
        assert_allclose(of_some, array[chosen], rtol=1e-13)
    whole = affine(several, True)
    some, theta = whole.select(chosen), whole.start(beta)
    for method in ("value_and_gradient", "hessian"):
        of_all, of_some = getattr(whole, method)(theta), getattr(some, method)(theta[chosen])
        if method == "hessian":
            of_all, of_some = (of_all,), (of_some,)
        for array, array_of_some in zip(of_all, of_some, strict=True):
            assert_allclose(array_of_some, array[chosen], rtol=1e-13)


@pytest.mark.parametrize("make", [exclusive, several])
def test_a_summary_holds_the_sums_that_existence_follows_from(make):
    rows, summary = prepare(make())
    if make is exclusive:
        distances = Z.max(axis=1, keepdims=True) - Z
        own = distances[np.arange(N), CODES]
        assert_allclose(summary.expected, WEIGHTS @ own, rtol=1e-13)
        assert_allclose(summary.null, WEIGHTS @ distances.mean(axis=1), rtol=1e-13)
        assert_allclose(summary.total, WEIGHTS.sum())
        assert_allclose(summary.widest, distances[WEIGHTS > 0].max())
        assert_allclose(summary.worst, own[WEIGHTS > 0].max())
        assert_allclose(smallest_margins(rows), distances[(WEIGHTS > 0)[:, np.newaxis] & (distances > 0)].min())
    else:
        known = ~np.isnan(LABELS) * WEIGHTS[:, np.newaxis]
        truth = np.nan_to_num(LABELS)
        own = truth * np.maximum(-Z, 0) + (1 - truth) * np.maximum(Z, 0)
        assert_allclose(summary.expected, (known * own).sum(axis=0), rtol=1e-13)
        assert_allclose(summary.null, (known * np.abs(Z)).sum(axis=0) / 2, rtol=1e-13)
        assert_allclose(summary.total, known.sum(axis=0))
        assert_allclose(summary.widest, (np.abs(Z) * (known > 0)).max(axis=0))
        assert_allclose(smallest_margins(rows), np.min(np.abs(Z), axis=0, where=known > 0, initial=np.inf))
    assert_allclose(summary.logs + summary.expected, losses(make, Z), rtol=1e-13)


@pytest.mark.parametrize("curvature", [Curvature.BLOCKS, Curvature.MEAN_BLOCK])
def test_curvatures_that_are_not_offered_are_refused(curvature):
    objective = affine(exclusive, True)
    assert curvature not in objective.offers
    with pytest.raises(TypeError, match="AffineObjective does not offer"):
        precondition(objective, objective.start(np.ones(1)), curvature)


@pytest.mark.parametrize(("make", "shared"), [(exclusive, True), (exclusive, False), (several, True)])
def test_the_bounds_on_spreads_are_those_derived(make, shared):
    objective = affine(make, shared)
    rng = np.random.default_rng(1)
    size = objective.shape[2]
    roots = rng.normal(size=(objective.shape[0], size, size + 1))
    # So small that all norms are below 1.
    inverses = 1e-6 * roots @ roots.transpose(0, 2, 1)
    counts = (WEIGHTS > 0)[:, np.newaxis] & (~np.isnan(LABELS) if make is several else np.ones((N, K), dtype=bool))
    logits = Z - Z.max(axis=1, keepdims=True) if shared and make is exclusive else Z
    # Entries that do not count are 0.
    logits = np.where(counts, logits, 0)
    ends = np.stack([logits.min(axis=0), logits.max(axis=0)])
    ends -= ends.mean(axis=0)

    def direction(column, z):
        step = np.zeros(size)
        if make is several:
            step[:] = z, 1
        else:
            step[0 if shared else column] = z
            step[(1 if shared else K) + column] = 1
        return step

    def norm(column):
        inverse = inverses[column if make is several else 0]
        return max(np.sqrt(direction(column, z) @ inverse @ direction(column, z)) for z in ends[:, column])

    norms = np.array([norm(column) for column in range(K)])
    expected = norms if make is several else np.sort(norms)[-2:].sum(keepdims=True)
    assert_allclose(objective.largest_logit_range(inverses), expected, rtol=1e-10)

    theta = rng.normal(size=objective.shape)
    moved = np.array(
        [[direction(k, z) @ theta[k if make is several else 0, 0] for k, z in enumerate(end)] for end in ends]
    )
    sizes = np.abs(moved).max(axis=0) if make is several else np.abs(moved).max(keepdims=True)[0]
    assert_allclose(objective.value_rounding(theta), np.finfo(float).eps * (8 + 4 * sizes), rtol=1e-12)
    ranges = sizes if make is several else np.ptp(moved, keepdims=True)[0]
    assert_allclose(objective.logit_range(theta), ranges, rtol=1e-12)
    largest = np.abs(ends).max(axis=0) if make is several else np.abs(ends).max(keepdims=True)[0]
    lengths = np.arange(1.0, 1 + objective.shape[0])
    assert_allclose(objective.logit_range_bound(lengths), 2 * lengths * np.sqrt(1 + largest**2), rtol=1e-12)


def test_problems_keep_their_weights_and_infinite_logits():
    infinite = Z.copy()
    # On the right side, so that they have the loss 0 at any temperature.
    infinite[0], infinite[3, 1] = np.inf, -np.inf
    labels = LABELS.copy()
    labels[3, 1] = 0
    weights = np.where(np.arange(N) == 5, 1e-9, 1.0)
    targets = IndicatorTargets(Indicator(labels), weights)
    rows, summary = prepare(LogitRowsInBlocks(infinite, targets, targets.row_weights))
    assert rows.uneven
    chosen = np.array([False, True, True, False])
    beta = np.array([0.5, 0.7, 0.9, 1.1])
    every = _Loss.of(rows, summary, np.ones(K, dtype=bool))
    some = _Loss.of(rows, summary, chosen)
    finite = np.where(np.isinf(infinite), 0, infinite)
    losses_there = sigmoid_cross_entropy(finite * beta, labels, reduction="none")
    expected = np.nansum(np.where(np.isinf(infinite), 0, losses_there) * weights[:, np.newaxis], axis=0)
    assert_allclose(every.at(beta)[0], expected, rtol=1e-12)
    assert_allclose(some.at(beta[chosen])[0], expected[chosen], rtol=1e-12)
    objective = AffineObjective(rows, shared=True)
    assert objective.has_tiny_weights.all()
    part = objective.select(chosen)
    assert part.shape == (2, 1, 2)
    assert part.has_tiny_weights.tolist() == [True, True]
    theta = objective.start(beta)
    assert_allclose(objective.value_and_gradient(theta)[0], expected, rtol=1e-10)
    assert_allclose(part.value_and_gradient(theta[chosen])[0], expected[chosen], rtol=1e-10)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_wrong_logit_of_one_label_is_an_error_that_names_its_row(wrong):
    logits, labels = Z.copy(), LABELS.copy()
    logits[7, 2] = wrong
    labels[7, 2] = 0.2
    targets = IndicatorTargets(Indicator(labels), None)
    with pytest.raises(ValueError, match=r"in row 7, which holds"):
        prepare(LogitRowsInBlocks(logits, targets, targets.row_weights))
