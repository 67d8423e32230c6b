"""The objectives of calibration: values and derivatives against longhand, bounds against what they bound."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import approx_fprime

from skactivation._data.indicators import Indicator, LabelWeights
from skactivation._optimize.preconditioner import Kind, metric_at
from skactivation._threads import single_threaded_blas
from skactivation.calibration import _logits
from skactivation.calibration._affine_objective import AffineObjective
from skactivation.calibration._logits import Logits
from skactivation.calibration._temperature import TemperatureObjective
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
    return Logits(Z, True, lambda rows: CODES[rows], WEIGHTS)


def several():
    of_labels = LabelWeights(Indicator(LABELS), WEIGHTS)
    return Logits(Z, False, lambda rows: of_labels.targets(rows, np.arange(K)), of_labels.rows)


def losses(make, z):
    """Each part's sum of cross-entropies, in longhand."""
    if make is exclusive:
        return np.array([softmax_cross_entropy(z, CODES, sample_weight=WEIGHTS, reduction="sum")])
    entries = sigmoid_cross_entropy(z, LABELS, sample_weight=WEIGHTS, reduction="none")
    return np.nansum(entries, axis=0)


def affine(make, shared):
    logits = make()
    logits.summary()
    return AffineObjective(logits, shared=shared)


@pytest.mark.parametrize("make", [exclusive, several])
def test_a_temperature_objective_and_its_derivatives(make):
    logits = make()
    objective = TemperatureObjective(logits, logits.summary())
    beta = np.linspace(0.4, 0.9, objective.n_parts)[:, np.newaxis]
    values, gradient = objective.value_and_gradient(beta)
    columns = beta[0] if make is exclusive else beta[:, 0]
    assert_allclose(values, losses(make, Z * columns), rtol=1e-13)
    h = 1e-5
    slopes = (losses(make, Z * (columns + h)) - losses(make, Z * (columns - h))) / (2 * h)
    assert_allclose(gradient[:, 0], slopes, rtol=1e-6)
    rise = objective.value_and_gradient(beta + h)[1] - objective.value_and_gradient(beta - h)[1]
    assert_allclose(objective.hessian(beta)[:, :, 0], rise / (2 * h), rtol=1e-6)


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
    theta = objective.start(np.full(objective.n_parts, 0.5))
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
        assert np.all(spread <= objective.crude_logit_range(np.linalg.norm(flat, axis=1)) * (1 + 1e-12))


def test_parts_of_an_objective_are_what_they_are_in_it():
    logits = several()
    whole = TemperatureObjective(logits, logits.summary())
    beta = np.linspace(0.4, 0.9, K)[:, np.newaxis]
    chosen = np.array([True, False, True, True])
    some, with_biases = whole.select(chosen), affine(several, True)
    whole.value_and_gradient(beta)
    assert_allclose(whole.select(chosen).hessian(beta[chosen]), whole.hessian(beta)[chosen], rtol=1e-13)
    for objective, part, theta in (
        (whole, some, beta),
        (with_biases, with_biases.select(chosen), with_biases.start(beta[:, 0])),
    ):
        for method in ("value_and_gradient", "hessian"):
            all_of_them, of_some = getattr(objective, method)(theta), getattr(part, method)(theta[chosen])
            if method == "hessian":
                all_of_them, of_some = (all_of_them,), (of_some,)
            for array, array_of_some in zip(all_of_them, of_some, strict=True):
                assert_allclose(array_of_some, array[chosen], rtol=1e-13)


@pytest.mark.parametrize("make", [exclusive, several])
def test_a_summary_holds_the_sums_that_existence_follows_from(make):
    logits = make()
    summary = logits.summary()
    if make is exclusive:
        distances = Z.max(axis=1, keepdims=True) - Z
        own = distances[np.arange(N), CODES]
        assert_allclose(summary.expected, WEIGHTS @ own, rtol=1e-13)
        assert_allclose(summary.null, WEIGHTS @ distances.mean(axis=1), rtol=1e-13)
        assert_allclose(summary.total, WEIGHTS.sum())
        assert_allclose(summary.widest, distances[WEIGHTS > 0].max())
        assert_allclose(summary.worst, own[WEIGHTS > 0].max())
        assert_allclose(logits.smallest_margins(), distances[(WEIGHTS > 0)[:, np.newaxis] & (distances > 0)].min())
    else:
        known = ~np.isnan(LABELS) * WEIGHTS[:, np.newaxis]
        truth = np.nan_to_num(LABELS)
        own = truth * np.maximum(-Z, 0) + (1 - truth) * np.maximum(Z, 0)
        assert_allclose(summary.expected, (known * own).sum(axis=0), rtol=1e-13)
        assert_allclose(summary.null, (known * np.abs(Z)).sum(axis=0) / 2, rtol=1e-13)
        assert_allclose(summary.total, known.sum(axis=0))
        assert_allclose(summary.widest, (np.abs(Z) * (known > 0)).max(axis=0))
        assert_allclose(logits.smallest_margins(), np.min(np.abs(Z), axis=0, where=known > 0, initial=np.inf))
    assert_allclose(summary.logs + summary.expected, losses(make, Z), rtol=1e-13)


@pytest.mark.parametrize("kind", [Kind.OUTPUTS, Kind.SHARED])
def test_metrics_for_linear_models_are_refused(kind):
    objective = affine(exclusive, True)
    with pytest.raises(TypeError, match=r"only a linear model's objective.*got a AffineObjective"):
        metric_at(objective, objective.start(np.ones(1)), kind)
