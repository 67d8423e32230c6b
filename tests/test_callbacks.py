"""Callbacks of scikit-learn, from 1.9 on, and lines of progress."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skactivation import (
    SigmoidMultiLabel,
    SigmoidMultiLabelCV,
    SoftmaxRegression,
    SoftmaxRegressionCV,
    TemperatureCalibrator,
    _callbacks,
)

try:
    from sklearn.callback import ProgressBar, ScoringMonitor
except ImportError:
    ProgressBar = ScoringMonitor = None
needs_callbacks = pytest.mark.skipif(ScoringMonitor is None, reason="scikit-learn has callbacks from 1.9 on")

X, y = load_wine(return_X_y=True)
Y = np.eye(3, dtype=int)[y]
CASES = [
    (SoftmaxRegression(), X, y),
    (SigmoidMultiLabel(), X, Y),
    (SoftmaxRegressionCV(Cs=[0.1, 1.0], cv=3), X, y),
    (SoftmaxRegressionCV(Cs=[0.1, 1.0], cv="loo"), *load_iris(return_X_y=True)),
    (SigmoidMultiLabelCV(Cs=[0.1, 1.0], cv=3), X, Y),
    (TemperatureCalibrator(cv=3), X, y),
    (TemperatureCalibrator("logits"), np.log(SoftmaxRegression(C=1e-6).fit(X, y).predict_proba(X)), y),
]
NAMES = ["softmax", "labels", "search", "loo", "search of labels", "calibrator", "logits"]
by_estimator = pytest.mark.parametrize(("estimator", "rows", "targets"), CASES, ids=NAMES)


class Recorder:
    """Notes what it is told; asks to stop, or raises an error, at the end of the task of a given number."""

    def __init__(self, *, stop_at=None, raise_at=None, name="iteration"):
        self.stop_at, self.raise_at, self.name = stop_at, raise_at, name
        self.begun, self.ended, self.models, self.open = [], [], [], 0

    def setup(self, estimator, context):
        self.open += 1

    def teardown(self, estimator, context):
        self.open -= 1

    def on_fit_task_begin(self, estimator, context):
        self.begun.append(context.task_name)

    def on_fit_task_end(self, estimator, context, *, X=None, y=None, metadata=None, fitted_estimator=None):
        self.ended.append(context.task_name)
        if fitted_estimator is not None:
            self.models.append(fitted_estimator)
        number = sum(name.startswith(self.name) for name in self.ended)
        if number == self.raise_at:
            raise RuntimeError("no more")
        return number == self.stop_at


def same_state(one, other):
    assert list(one) == list(other)
    for name, value in one.items():
        assert value is other[name]


@needs_callbacks
@by_estimator
def test_each_estimator_tells_of_its_tasks(estimator, rows, targets):
    recorder = Recorder()
    estimator = clone(estimator).set_callbacks(recorder)
    estimator.fit(rows, targets)
    assert recorder.open == 0
    assert recorder.begun[0] == recorder.ended[-1] == "fit"
    assert sorted(recorder.begun) == sorted(recorder.ended)
    assert not [name for name in vars(estimator) if "callback" in name and name != "_skl_callbacks"]


@needs_callbacks
@by_estimator
def test_callbacks_do_not_change_the_fit(estimator, rows, targets):
    watched, alone = clone(estimator).set_callbacks(Recorder()).fit(rows, targets), clone(estimator).fit(rows, targets)
    assert_array_equal(watched.predict_proba(rows), alone.predict_proba(rows))


@needs_callbacks
@pytest.mark.parametrize(("model", "targets"), [(SoftmaxRegression(), y), (SigmoidMultiLabel(), Y)])
@pytest.mark.parametrize("rows", [X, np.random.default_rng(0).normal(size=(178, 170))], ids=["Newton", "wide"])
def test_each_iteration_has_a_model(model, targets, rows):
    recorder = Recorder()
    model = clone(model).set_callbacks(recorder).fit(rows, targets)
    assert recorder.ended == ["iteration"] * model.n_iter_[0] + ["fit"]
    *_, before, last = recorder.models
    assert np.abs(before.predict_proba(rows) - model.predict_proba(rows)).max() < 1e-2
    assert_array_equal(last.predict_proba(rows), model.predict_proba(rows))


@needs_callbacks
@pytest.mark.parametrize(("model", "targets"), [(SoftmaxRegression(tol=1e-12), y), (SigmoidMultiLabel(), Y)])
def test_a_callback_may_stop_a_fit(model, targets):
    recorder = Recorder(stop_at=2)
    model = clone(model).set_callbacks(recorder)
    with pytest.warns(ConvergenceWarning, match="a callback stopped the fit before its optimum was certified"):
        model.fit(X, targets)
    assert model.n_iter_ == 2
    assert not model.converged_
    assert model.loss_curve_.size == 3
    assert model.loss_ <= model.loss_curve_[1]
    assert np.isfinite(model.predict_proba(X)).all()


@needs_callbacks
def test_a_callback_may_stop_a_fit_by_lbfgs():
    rng = np.random.default_rng(0)
    rows, targets = rng.normal(size=(3000, 60)), rng.integers(20, size=3000)
    model = SoftmaxRegression(tol=1e-13).set_callbacks(Recorder(stop_at=1))
    with pytest.warns(ConvergenceWarning, match="a callback stopped"):
        model.fit(rows, targets)
    assert model.n_iter_ == 1


@needs_callbacks
@pytest.mark.parametrize("cv", [3, "loo"])
def test_a_callback_may_stop_a_search(cv):
    rows, targets = load_iris(return_X_y=True)
    search = SoftmaxRegressionCV(Cs=[1.0, 0.01, 0.1], cv=cv).set_callbacks(Recorder(stop_at=2, name="C="))
    with pytest.warns(ConvergenceWarning, match="a callback stopped the search after 2 of 3 values of C"):
        search.fit(rows, targets)
    assert_array_equal(search.Cs_, [0.01, 0.1])
    assert search.scores_.shape[1] == 2
    shorter = SoftmaxRegressionCV(Cs=[0.01, 0.1], cv=cv).fit(rows, targets)
    assert_array_equal(search.scores_, shorter.scores_)
    assert_array_equal(search.coef_, shorter.coef_)


@needs_callbacks
def test_a_search_of_folds_one_by_one_stops_at_the_same_c(monkeypatch):
    monkeypatch.setattr("skactivation.linear_model._cross_validation._MOST_ELEMENTS", 1)
    search = SoftmaxRegressionCV(Cs=[1.0, 0.01, 0.1], cv=3).set_callbacks(Recorder(stop_at=2, name="C="))
    with pytest.warns(ConvergenceWarning, match="after 2 of 3 values"):
        search.fit(X, y)
    assert_array_equal(search.Cs_, [0.01, 0.1])


@needs_callbacks
@by_estimator
@pytest.mark.parametrize("name", ["", "fit"])
def test_an_error_of_a_callback_leaves_the_estimator_as_it_was(estimator, rows, targets, name):
    recorder = Recorder(raise_at=1, name=name)
    estimator = clone(estimator).set_callbacks(recorder)
    before = dict(vars(estimator))
    with pytest.raises(RuntimeError, match="no more"):
        estimator.fit(rows, targets)
    same_state(before, vars(estimator))
    assert recorder.open == 0


@needs_callbacks
@pytest.mark.parametrize("make", [lambda e: make_pipeline(StandardScaler(), e), lambda e: e], ids=["pipeline", "alone"])
@by_estimator
def test_a_scoring_monitor(make, estimator, rows, targets):
    monitor = ScoringMonitor(scoring="neg_log_loss" if targets.ndim == 1 else "accuracy")
    make(clone(estimator).set_callbacks(monitor)).fit(rows, targets)
    assert len(monitor.get_logs().data) >= 1


@needs_callbacks
@by_estimator
def test_a_progress_bar_reaches_all_estimators(estimator, rows, targets, capsys):
    pytest.importorskip("rich")
    make_pipeline(StandardScaler(), clone(estimator)).set_callbacks(ProgressBar(max_propagation_depth=None)).fit(
        rows, targets
    )
    assert type(estimator).__name__ in capsys.readouterr().out


@needs_callbacks
@pytest.mark.parametrize(
    ("estimator", "n_tasks"),
    [
        (SoftmaxRegressionCV(Cs=[0.1, 1.0, 10.0], cv=3), 4),
        (SoftmaxRegressionCV(Cs=[0.1, 1.0, 10.0], cv="loo"), 4),
        (TemperatureCalibrator(GaussianNB()), 6),
        (TemperatureCalibrator(GaussianNB(), cv=3, ensemble=True), 3),
        (TemperatureCalibrator(FrozenEstimator(GaussianNB().fit(X, y))), 0),
    ],
)
def test_how_many_tasks_there_are_is_known_where_it_can_be(estimator, n_tasks):
    contexts = []

    class Counter(Recorder):
        def on_fit_task_begin(self, estimator, context):
            contexts.append(context)

    estimator.set_callbacks(Counter()).fit(X, y)
    assert contexts[0].max_subtasks == n_tasks == len(contexts) - 1


@needs_callbacks
def test_folds_one_by_one_tell_of_each_c_once(monkeypatch):
    monkeypatch.setattr("skactivation.linear_model._cross_validation._MOST_ELEMENTS", 1)
    recorder = Recorder()
    SoftmaxRegressionCV(Cs=[0.1, 1.0], cv=3).set_callbacks(recorder).fit(X, y)
    assert recorder.ended == ["C=0.1", "C=1", "refit", "fit"]


@pytest.fixture
def in_groups(monkeypatch):
    """Problems are minimised one after the other."""
    monkeypatch.setattr("skactivation._optimize.solver.problems_at_once", lambda strategy, shape: 1)


@needs_callbacks
def test_problems_in_groups_have_one_observer(in_groups):
    recorder = Recorder()
    model = SigmoidMultiLabel().set_callbacks(recorder).fit(X, Y)
    assert recorder.ended == ["iteration"] * (len(recorder.ended) - 1) + ["fit"]
    *models, last = recorder.models
    assert_array_equal(last.coef_, model.coef_)
    # Labels that have not begun have no coefficients yet; those that are done stay as they are.
    assert_array_equal(models[0].coef_[1:], 0)
    assert_array_equal(models[-1].coef_, model.coef_)
    assert not np.array_equal(models[-2].coef_[2], models[-1].coef_[2])
    assert_array_equal(models[-2].coef_[:2], models[-1].coef_[:2])


@needs_callbacks
def test_a_stop_ends_all_groups(in_groups):
    model = SigmoidMultiLabel(tol=1e-12).set_callbacks(Recorder(stop_at=2))
    with pytest.warns(ConvergenceWarning, match="a callback stopped"):
        model.fit(X, Y)
    assert model.n_iter_ <= 2


def test_lines_of_problems_in_groups(in_groups, monkeypatch, capsys):
    monkeypatch.setattr(_callbacks, "_INTERVAL", 0.0)
    SigmoidMultiLabel(verbose=1).fit(X, Y)
    lines = capsys.readouterr().out.splitlines()
    assert "objective" not in lines[0]
    assert "objective" in lines[-2]


@needs_callbacks
def test_models_of_iterations_stay_as_they_are():
    recorder = Recorder()
    SigmoidMultiLabel().set_callbacks(recorder).fit(X, Y)
    assert np.isinf(recorder.models[0].label_optimality_gaps_).all()


def test_a_calibrator_that_nobody_watches_asks_no_more_of_its_classifier():
    class Strict(GaussianNB):
        def __setattr__(self, name, value):
            assert "callback" not in name
            super().__setattr__(name, value)

        def fit(self, X, y):
            return GaussianNB().fit(X, y)

    splits = (split for split in list(StratifiedKFold(3).split(X, y)))
    model = TemperatureCalibrator(Strict(), cv=splits).fit(X, y)
    assert type(model.estimator_) is GaussianNB
    joblib_pickles = (split for split in list(StratifiedKFold(3).split(X, y)))
    TemperatureCalibrator(GaussianNB(), cv=joblib_pickles, n_jobs=2).fit(X, y)


@needs_callbacks
@pytest.mark.parametrize("n_jobs", [None, 2])
def test_callbacks_in_a_grid_search(n_jobs):
    monitor = ScoringMonitor(scoring="neg_log_loss")
    model = SoftmaxRegression().set_callbacks(monitor)
    GridSearchCV(model, {"C": [0.1, 1.0]}, cv=2, n_jobs=n_jobs).fit(X, y)
    assert {row["task_name"] for row in monitor.get_logs().data} >= {"iteration"}


@needs_callbacks
@pytest.mark.parametrize("n_jobs", [None, 2])
def test_the_calibrator_passes_callbacks_on(n_jobs):
    monitor = ScoringMonitor(scoring="neg_log_loss")
    model = TemperatureCalibrator(SoftmaxRegression().set_callbacks(monitor), cv=3, n_jobs=n_jobs).fit(X, y)
    names = [row["estimator_name"] for row in monitor.get_logs(include_lineage=True).data]
    assert names.count("SoftmaxRegression") > 4
    assert "TemperatureCalibrator" in names
    assert not hasattr(model.estimator_, "_parent_callback_ctx")


@needs_callbacks
def test_the_calibrator_names_a_classifier_without_callbacks():
    pytest.importorskip("rich")
    with pytest.warns(UserWarning, match="GaussianNB does not support callbacks"):
        TemperatureCalibrator(GaussianNB(), cv=2).set_callbacks(ProgressBar()).fit(X, y)


@pytest.mark.parametrize(
    ("estimator", "line"),
    [
        (SoftmaxRegression(verbose=1), r"[SoftmaxRegression] 0.0 s: iteration 1, "),
        (SigmoidMultiLabel(verbose=True), "[SigmoidMultiLabel] 0.0 s: iteration 1, "),
        (SoftmaxRegression(verbose=1), " s: done, certified gap "),
        (SoftmaxRegressionCV(Cs=[0.1], cv=3, verbose=1), "s: C=0.1 (1 of 1), iteration 1, "),
        (SoftmaxRegressionCV(Cs=[0.1], cv=3, verbose=1), "s: done, C = 0.1"),
        (SoftmaxRegressionCV(Cs=[0.1], cv="loo", verbose=1), "of 178 losses by refits"),
        (TemperatureCalibrator(GaussianNB(), cv=2, verbose=1), "[TemperatureCalibrator] 0.0 s: split 1 of 2\n"),
    ],
)
def test_lines_of_progress(estimator, line, monkeypatch, capsys):
    monkeypatch.setattr(_callbacks, "_INTERVAL", 0.0)
    targets = Y if isinstance(estimator, SigmoidMultiLabel) else y
    estimator.fit(X, targets)
    assert line in capsys.readouterr().out
    estimator.set_params(verbose=0).fit(X, targets)
    assert capsys.readouterr().out == ""


def test_short_fits_print_nothing(capsys):
    SoftmaxRegression(verbose=1).fit(X, y)
    assert capsys.readouterr().out == ""


@by_estimator
def test_verbose_is_checked(estimator, rows, targets):
    with pytest.raises(TypeError, match="verbose must be an integer >= 0, got 'yes'"):
        clone(estimator).set_params(verbose="yes").fit(rows, targets)
