"""What estimators for Dask tell, refuse and send."""

import re
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import dask
import dask.array as da
import dask.bag
import numpy as np
import pytest
from distributed import Client, default_client, worker_client
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skactivation import SigmoidMultiLabel, SoftmaxRegression, TemperatureCalibrator
from skactivation._data.rows import rows_of
from skactivation._data.targets import class_targets
from skactivation.calibration import fit_temperature
from skactivation.calibration._labelled_logits import Columns
from skactivation.dask import DaskSigmoidMultiLabel, DaskSoftmaxRegression, DaskTemperatureCalibrator, _cluster
from skactivation.dask import fit_temperature as dask_fit_temperature
from skactivation.dask._cluster import Cluster
from skactivation.dask._feature_rows import PartitionedRows, encode
from skactivation.dask._linear import _Reader
from skactivation.dask._logit_rows import labelled_partitions
from skactivation.dask._partitions import Partitions, delayed_parts
from skactivation.linear_model._objective import LinearObjective

try:
    from sklearn.callback import ScoringMonitor
except ImportError:
    ScoringMonitor = None

RNG = np.random.default_rng(0)
X = RNG.normal(size=(600, 3))
Y = np.argmax(X + RNG.gumbel(size=(600, 3)), axis=1)
LABELS = (X + RNG.logistic(size=(600, 3)) > 0).astype(float)


def split(array, size=100):
    return da.from_array(array, chunks=(size, *array.shape[1:]))


class Counter:
    """A callback that counts iterations, and asks to stop at one."""

    def __init__(self, stop_at=None):
        self.stop_at, self.names = stop_at, []

    def setup(self, estimator, context): ...

    def teardown(self, estimator, context): ...

    def on_fit_task_begin(self, estimator, context): ...

    def on_fit_task_end(self, estimator, context, **kwargs):
        self.names.append(context.task_name)
        return len(self.names) == self.stop_at


@pytest.mark.skipif(ScoringMonitor is None, reason="scikit-learn has callbacks from 1.9 on")
def test_callbacks_are_told_of_iterations_and_may_stop_them(client):
    counter = Counter()
    model = DaskSoftmaxRegression().set_callbacks(counter).fit(split(X), split(Y))
    assert counter.names.count("iteration") == model.n_iter_[0]
    with pytest.warns(match="stop"):
        stopped = DaskSoftmaxRegression().set_callbacks(Counter(stop_at=2)).fit(split(X), split(Y))
    assert stopped.n_iter_[0] == 2


@pytest.mark.skipif(ScoringMonitor is None, reason="scikit-learn has callbacks from 1.9 on")
def test_a_scoring_monitor_scores_on_the_cluster(client):
    monitor = ScoringMonitor(scoring="accuracy")
    local = ScoringMonitor(scoring="accuracy")
    DaskSoftmaxRegression().set_callbacks(monitor).fit(split(X), split(Y))
    SoftmaxRegression().set_callbacks(local).fit(X, Y)
    ours, theirs = ([row["accuracy"] for row in each.get_logs().data] for each in (monitor, local))
    assert_allclose(ours, theirs, rtol=1e-12)


def test_lines_of_progress(client, capsys, monkeypatch):
    monkeypatch.setattr("skactivation._callbacks._INTERVAL", 0.0)
    DaskSoftmaxRegression(verbose=1).fit(split(X), split(Y))
    out = capsys.readouterr().out
    assert re.search(r"DaskSoftmaxRegression.*iteration", out)
    assert "certified gap" in out


def test_tasks_have_names_that_a_dashboard_can_show(client, monkeypatch):
    keys = []
    known = Cluster._remember
    monkeypatch.setattr(
        Cluster,
        "_remember",
        lambda self, futures: keys.extend(future.key for future in futures) or known(self, futures),
    )
    DaskSoftmaxRegression().fit(split(X), split(Y))
    prefixes = {dask.utils.key_split(key) for key in keys}
    assert {"skactivation-read", "skactivation-ranges", "skactivation-losses-and-gradient"} <= prefixes
    assert all(re.fullmatch(r"skactivation(-[a-z]+)+", prefix) for prefix in prefixes)
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("setting", ["_FAN_IN", "_MOST_BYTES"])
def test_sums_over_many_partitions_and_arguments_of_many_bytes(setting, client, monkeypatch):
    expected = DaskSoftmaxRegression().fit(split(X, 20), split(Y, 20))
    monkeypatch.setattr(_cluster, setting, {"_FAN_IN": 3, "_MOST_BYTES": 100}[setting])
    fit = DaskSoftmaxRegression().fit(split(X, 20), split(Y, 20))
    assert_allclose(fit.coef_, expected.coef_, rtol=1e-11)
    assert_allclose(fit.coef_, SoftmaxRegression().fit(X, Y).coef_, rtol=1e-9)


@pytest.mark.parametrize("weighted", [False, True])
def test_a_sample_by_curvature_is_that_of_the_rows_in_memory(weighted, client):
    weights = RNG.random(600) if weighted else None
    local = LinearObjective(
        rows_of(X, class_targets(Y, 3), None if weights is None else weights / weights.max(), fit_intercept=True), 1.0
    )
    theta = RNG.normal(size=local.shape)
    model = SoftmaxRegression().fit(X, Y)
    with Cluster(client) as cluster:
        parts = delayed_parts(split(X), split(Y), None if weights is None else split(weights))
        data = Partitions(cluster, _Reader(model), parts, 3)
        encoder, _ = model._encoder(data.totals)
        encoded = encode(data, encoder)
        rows = PartitionedRows.of(data, encoded.targets, fit_intercept=True)
        ours = LinearObjective(rows, 1.0).sample(theta, 50)
        local_sample = local.sample(theta, 50)
        assert ours.objective.rows.n_rows == local_sample.objective.rows.n_rows
        assert ours.most_rows_each == pytest.approx(local_sample.most_rows_each)
        for objective in (ours.objective, local_sample.objective):
            assert objective.rows.dtype == np.float32
        assert_allclose(
            ours.objective.value_and_gradient(theta)[1], local_sample.objective.value_and_gradient(theta)[1], rtol=1e-9
        )
        with pytest.raises(TypeError, match="on the workers"):
            rows.targets.strata()
        with pytest.raises(TypeError, match="in memory"):
            LinearObjective(rows, 1.0).without(np.array([0]), np.array([0]))


def test_estimators_for_data_in_memory_point_to_those_for_dask(client):
    for model in (SoftmaxRegression(), SigmoidMultiLabel(), TemperatureCalibrator("logits")):
        with pytest.raises(TypeError, match=r"X must be in memory.*skactivation\.dask"):
            model.fit(split(X), split(LABELS))
    with pytest.raises(TypeError, match=r"y must be in memory.*skactivation\.dask"):
        SoftmaxRegression().fit(X, split(Y))
    with pytest.raises(TypeError, match=r"logits must be in memory.*skactivation\.dask"):
        fit_temperature(split(X), split(Y))
    with pytest.raises(TypeError, match=r"X must be in memory"):
        SoftmaxRegression().fit(X, Y).predict(split(X))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: DaskSoftmaxRegression().fit(X, Y), TypeError, "X must be a Dask array or data frame, got ndarray"),
        (lambda: DaskSoftmaxRegression().fit(split(X), None), ValueError, "y must be given"),
        (lambda: DaskSoftmaxRegression().fit(split(Y), split(Y)), ValueError, "X must have two dimensions, got 1"),
        (
            lambda: DaskSoftmaxRegression().fit(split(X), split(Y)[:500]),
            ValueError,
            "same number of rows.* 600 and 500",
        ),
        (
            lambda: DaskSoftmaxRegression().fit(split(X), split(Y, 50)[split(Y, 50) >= 0]),
            ValueError,
            "same number of partitions, got 6 and 12.*compute_chunk_sizes",
        ),
        (
            lambda: DaskSoftmaxRegression().fit(split(X)[split(Y) > 0], split(Y)),
            ValueError,
            "partition 0: X and y must have the same number of rows",
        ),
        (lambda: DaskSoftmaxRegression().fit(split(X)[split(Y) > 9], split(Y)[split(Y) > 9]), ValueError, "no rows"),
        (
            lambda: DaskSoftmaxRegression().fit(split(X)[split(Y) >= 0], Y),
            TypeError,
            "only if the chunks of X are known",
        ),
        (lambda: DaskSoftmaxRegression().fit(split(X), 3), TypeError, "got int for the latter"),
        (lambda: DaskSoftmaxRegression().fit(split(X), split(Y), "w"), TypeError, "X and sample_weight.* got str"),
        (lambda: DaskSoftmaxRegression().fit(split(X), split(Y).sum()), ValueError, "a single number"),
        (lambda: DaskSoftmaxRegression().fit(split(X), Y[:500]), ValueError, "same number of rows, got 600 and 500"),
        (lambda: DaskSoftmaxRegression().fit(dask.bag.from_sequence([1]), split(Y)), TypeError, "got Bag"),
        (lambda: DaskSoftmaxRegression().fit(dask.delayed(X), split(Y)), TypeError, "got Delayed"),
        (lambda: DaskTemperatureCalibrator("logits").fit(split(X), None), ValueError, "y must be given"),
        (
            lambda: DaskSoftmaxRegression().fit(split(X), np.ma.masked_equal(Y, 2)),
            TypeError,
            "partition 0: y must not be a masked array",
        ),
        (lambda: DaskSoftmaxRegression().fit(split(X), split(Y * 0)), ValueError, "at least two classes"),
        (lambda: DaskSoftmaxRegression().fit(split(X), split(Y), split(0.0 * Y)), ValueError, "zero for every row"),
        (lambda: DaskSoftmaxRegression(C=-1).fit(split(X), split(Y)), ValueError, "C must be"),
        (
            lambda: DaskSoftmaxRegression(class_weight="balanced").fit(split(X), split(np.full((600, 2), 0.5))),
            ValueError,
            "soft targets",
        ),
        (
            lambda: DaskSoftmaxRegression().fit(split(X).map_blocks(sparse.csr_array), split(Y)),
            TypeError,
            "partition 0: X must be dense",
        ),
        (lambda: DaskSigmoidMultiLabel().fit(split(X), split(Y)), ValueError, "a column for each label"),
        (lambda: DaskSigmoidMultiLabel().fit(split(X), split(LABELS * np.nan)), ValueError, "no known entry"),
        (lambda: DaskSoftmaxRegression(client="here").fit(split(X), split(Y)), TypeError, "client must be"),
        (lambda: DaskTemperatureCalibrator().fit(split(X), split(Y)), TypeError, "FrozenEstimator"),
        (lambda: DaskTemperatureCalibrator(LogisticRegression()).fit(split(X), split(Y)), TypeError, "FrozenEstimator"),
        (lambda: DaskTemperatureCalibrator("logits").fit(split(X), split(Y), a=1), TypeError, "takes X, y"),
        (lambda: DaskTemperatureCalibrator("logit").fit(split(X), split(Y)), ValueError, "'logit'"),
        (lambda: dask_fit_temperature(X, split(Y)), TypeError, "logits must be a Dask array"),
        (lambda: dask_fit_temperature(split(X), split(Y), classes=[0, 1]), ValueError, "each of 3 columns"),
        (lambda: dask_fit_temperature(split(X), split(Y + 5), classes=[0, 1, 2]), ValueError, "among the classes"),
        (
            lambda: dask_fit_temperature(split(X), split(LABELS), classes=[0, 1, 2], multilabel=True),
            ValueError,
            "classes can't be given",
        ),
        (
            lambda: dask_fit_temperature(split(np.where(np.arange(600)[:, None] == 250, np.nan, X)), split(Y)),
            ValueError,
            "partition 2: logits must not be NaN, got NaN in row 50",
        ),
        (lambda: dask_fit_temperature(split(X), split(Y // 3)), ValueError, "one class"),
    ],
)
def test_errors(call, error, message, client):
    with pytest.raises(error, match=message):
        call()


def test_no_client_is_an_error():
    with pytest.raises(ValueError, match="No clients"):
        default_client()
    with pytest.raises(ValueError, match="there is no Dask client: make one first"):
        DaskSoftmaxRegression().fit(split(X), split(Y))


def test_an_asynchronous_client_is_an_error(in_process):
    async def fit():
        async with Client(in_process.scheduler_address, asynchronous=True) as client:
            DaskSoftmaxRegression(client=client).fit(split(X), split(Y))

    with pytest.raises(TypeError, match="synchronous"):
        in_process.sync(fit)


def test_logits_that_look_like_probabilities(client):
    probabilities = np.exp(X) / np.exp(X).sum(axis=1, keepdims=True)
    with pytest.warns(UserWarning, match="look like probabilities"):
        dask_fit_temperature(split(probabilities), split(Y))
    with pytest.warns(UserWarning, match="look like probabilities"):
        DaskTemperatureCalibrator("logits").fit(split(probabilities), split(Y))
    some = probabilities.copy()
    some[150] *= 2
    dask_fit_temperature(split(some), split(Y))


def test_one_score_of_rows_without_weight_is_an_error(client):
    model = DaskSoftmaxRegression().fit(split(X), split(Y))
    with pytest.raises(ValueError, match="can be scored"):
        model.score(split(X), split(Y), split(0.0 * Y))


def test_predictions_in_memory_do_without_a_cluster(in_process):
    with Client(in_process) as client:
        model = DaskSoftmaxRegression(client=client).fit(split(X), split(Y))
    assert_array_equal(model.predict(X), model.to_local().predict(X))


def test_a_closed_client_is_an_error(in_process):
    with Client(in_process) as client:
        model = DaskSoftmaxRegression(client=client)
    with pytest.raises(ValueError, match="client must be connected to a cluster, got one that is closed"):
        model.fit(split(X), split(Y))


@pytest.mark.filterwarnings("ignore:The `numpy.may_share_memory` function:FutureWarning")
def test_steps_in_front_that_read_rows_into_memory_are_an_error(client):
    with pytest.raises(TypeError, match=r"a step in front has pulled the rows into memory"):
        make_pipeline(StandardScaler(), DaskSoftmaxRegression()).fit(split(X), split(Y))


@pytest.mark.parametrize("n_partitions", [300, 600])
def test_a_fit_leaves_other_futures_of_the_client_alone(n_partitions, client):
    mine = client.submit(lambda: 7, pure=False)
    persisted = split(X).persist()
    size = 600 // n_partitions
    DaskSigmoidMultiLabel().fit(split(X, size), split(LABELS, size))
    assert mine.result(timeout=10) == 7
    assert persisted.sum().compute() == pytest.approx(X.sum())


def test_a_fit_inside_a_task_is_an_error_or_takes_a_worker_client(client):
    def inside(with_client):
        if not with_client:
            return DaskSoftmaxRegression(client=default_client()).fit(split(X), split(Y)).coef_
        with worker_client() as own:
            return DaskSoftmaxRegression(client=own).fit(split(X), split(Y)).coef_

    with pytest.raises(RuntimeError, match="worker_client"):
        client.submit(inside, False, pure=False).result(timeout=30)
    expected = DaskSoftmaxRegression().fit(split(X), split(Y)).coef_
    assert_array_equal(client.submit(inside, True, pure=False).result(timeout=30), expected)


def test_clones_in_threads_keep_the_client(client):
    model = DaskSoftmaxRegression(client=client)
    with ThreadPoolExecutor(4) as pool:
        clones = list(pool.map(lambda _: clone(model), range(200)))
    assert {each.client for each in clones} == {client} == {model.client}


def test_what_x_and_y_come_from_is_read_once(tmp_path, client):
    def read(block):
        (tmp_path / uuid4().hex).touch()
        return block

    both = split(np.column_stack([X, Y])).map_blocks(read, meta=np.zeros((0, 0)))
    rows, y = both[:, :3], both[:, 3].astype(int)
    model = DaskSoftmaxRegression().fit(rows, y)
    assert len(list(tmp_path.iterdir())) == 6
    model.score(rows, y)
    assert len(list(tmp_path.iterdir())) == 12


def test_the_blocks_of_a_prediction_share_one_task_that_holds_the_model(client):
    model = DaskSoftmaxRegression().fit(split(X), split(Y))
    for predicted in (model.predict(split(X, 6)), model.predict_proba(split(X, 6))):
        (holder,) = (name for name in predicted.dask.dependencies[predicted.name] if name.startswith("Held-"))
        assert len(predicted.dask.layers[holder]) == 1
        assert len(predicted.dask.layers[predicted.name]) >= 100


def test_a_score_of_rows_in_memory_is_that_of_the_plain_estimator(client):
    model = DaskSoftmaxRegression().fit(split(X), split(Y))
    assert model.score(X, Y) == model.to_local().score(X, Y)


def test_subclasses_may_have_parameters_of_their_own(client):
    class Mine(DaskSoftmaxRegression):
        def __init__(self, *, extra=1, C=1.0, client=None):
            super().__init__(C=C, client=client)
            self.extra = extra

    assert Mine(extra=2).fit(split(X), split(Y)).to_local().C == 1.0


class Number:
    """Rows whose sum is a number."""

    def __init__(self, value):
        self.value = value

    def sum(self, term, *arguments, **options):
        return (self.value,)


@pytest.mark.parametrize("fan_in", [2, 16])
def test_sums_are_added_in_the_order_of_the_partitions(fan_in, client, monkeypatch):
    monkeypatch.setattr(_cluster, "_FAN_IN", fan_in)
    values = [1.0, 1e16, -1e16, 0.5, 3.0]
    with Cluster(client) as cluster:
        parts = cluster.on_collections("read", lambda _, number, value: Number(value), None, [(v,) for v in values])
        (total,) = cluster.sum(parts, split, ())
    pairs = {2: ((1.0 + 1e16) + (-1e16 + 0.5)) + 3.0, 16: (((1.0 + 1e16) + -1e16) + 0.5) + 3.0}
    assert total == pairs[fan_in]


def test_partitions_know_the_least_weight_of_all(client):
    weights = np.ones(600)
    weights[7] = 1e-9
    columns = Columns(3, None, False)
    with Cluster(client) as cluster:
        parts = delayed_parts(split(X), split(Y), split(weights))
        rows, _ = labelled_partitions(cluster, columns, parts, np.asarray, split(X))
        uneven = cluster.results(cluster.each("uneven", is_uneven, rows._parts))
    assert uneven == [True] * 6


def is_uneven(rows):
    return rows.uneven
