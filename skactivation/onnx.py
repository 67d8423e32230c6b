"""Estimators as ONNX graphs, which run without Python. Takes the packages skl2onnx and onnx, extra ``onnx``.

Importing this module lets `skl2onnx.to_onnx` take the estimators of skactivation, alone and in pipelines. Classes of
bools are 0 and 1 in a graph, since ONNX has no labels of that type.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.ensemble import ExtraTreesClassifier, GradientBoostingClassifier, RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline
from sklearn.svm import SVC
from sklearn.utils.validation import check_is_fitted

from skactivation._validation import check_integer, check_thresholds
from skactivation.calibration import TemperatureCalibrator, TemperatureFit
from skactivation.linear_model import SigmoidMultiLabel, SigmoidMultiLabelCV, SoftmaxRegression, SoftmaxRegressionCV

try:
    import onnx
    import skl2onnx
    from skl2onnx.common.data_types import (
        DictionaryType,
        DoubleTensorType,
        FloatTensorType,
        Int64TensorType,
        SequenceType,
        StringTensorType,
        guess_proto_type,
    )

    from skactivation._onnx_graphs import (
        ConvertedNodes,
        Nodes,
        first_column,
        label_of_largest,
        labels_in,
        last_column,
        log_sigmoid,
        onnx_labels,
        probabilities_of,
        scaled,
        whether_reached,
        without_columns,
    )
except ImportError as missing:
    raise ImportError(
        "skactivation.onnx takes the packages skl2onnx and onnx: python -m pip install skl2onnx onnx onnxruntime"
    ) from missing

__all__ = ["register", "temperature_to_onnx"]

_ZIPMAP, _RAW_SCORES = {"zipmap": [True, False]}, {"raw_scores": [True, False]}
# Classifiers that a calibrator may have in a graph: those whose raw scores or probabilities are known to be right.
# Other converters take the same options and return something else, in silence.
_LABELS = (SigmoidMultiLabel, SigmoidMultiLabelCV)
_CLASSIFIERS = (
    *_LABELS,
    SoftmaxRegression,
    SoftmaxRegressionCV,
    LogisticRegression,
    LogisticRegressionCV,
    GaussianNB,
    RandomForestClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    MLPClassifier,
    SVC,
)


def register() -> None:
    """Let `skl2onnx.to_onnx` take the estimators of skactivation; importing `skactivation.onnx` does it.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skl2onnx import to_onnx
    >>> import skactivation.onnx
    >>> from skactivation import SoftmaxRegression
    >>> X, y = load_iris(return_X_y=True)
    >>> graph = to_onnx(SoftmaxRegression().fit(X, y), X[:1], options={"zipmap": False})
    >>> [output.name for output in graph.graph.output]
    ['label', 'probabilities']
    """
    converters = {
        SoftmaxRegression: _convert_softmax,
        SoftmaxRegressionCV: _convert_softmax,
        SigmoidMultiLabel: _convert_sigmoids,
        SigmoidMultiLabelCV: _convert_sigmoids,
        TemperatureCalibrator: _convert_calibrator,
    }
    for estimator, convert in converters.items():
        alias = f"Skactivation{estimator.__name__}"
        options = _ZIPMAP if estimator is TemperatureCalibrator else _ZIPMAP | _RAW_SCORES
        skl2onnx.update_registered_converter(estimator, alias, _set_shapes, convert, parser=_parse, options=options)


def temperature_to_onnx(fit: TemperatureFit, n_columns: int, *, dtype: Any = np.float32) -> onnx.ModelProto:
    """A graph from logits to calibrated probabilities.

    Parameters
    ----------
    fit : TemperatureFit
        What `fit_temperature` has returned.
    n_columns : int
        Number of columns of the logits: classes, labels, or 1 for the logits of the second of two classes.
    dtype : dtype, default=numpy.float32
        Of logits and probabilities: float32 or float64.

    Returns
    -------
    onnx.ModelProto
        The graph, with the input ``logits`` of shape (n, n_columns) and the output ``probabilities``.

    Raises
    ------
    TypeError, ValueError
        If the fit is none, or one of another number of labels, or if the dtype is another one.

    Examples
    --------
    >>> from skactivation import fit_temperature
    >>> from skactivation.onnx import temperature_to_onnx
    >>> fit = fit_temperature([[3.0, 0.0], [2.0, 0.0], [0.0, 4.0], [1.0, 0.0]], [0, 0, 1, 1])
    >>> [node.op_type for node in temperature_to_onnx(fit, 2).graph.node]
    ['Div', 'IsInf', 'Where', 'Softmax', 'Identity']
    """
    if not isinstance(fit, TemperatureFit):
        raise TypeError(f"fit must be a TemperatureFit, got {type(fit).__name__}; pass estimators to skl2onnx.to_onnx")
    if np.dtype(dtype) not in (np.float32, np.float64):
        raise ValueError(f"dtype must be float32 or float64, got {np.dtype(dtype)}")
    n_columns = check_integer(n_columns, "n_columns", low=1)
    multilabel = np.ndim(fit.temperature) > 0
    if multilabel and np.size(fit.temperature) != n_columns:
        raise ValueError(f"n_columns must be {np.size(fit.temperature)}, the number of labels, got {n_columns}")
    nodes = Nodes(np.dtype(dtype))
    z = scaled(nodes, "logits", np.atleast_1d(fit.temperature), None)
    nodes.add("Identity", [probabilities_of(nodes, z, n_columns, multilabel=multilabel)], output="probabilities")
    kind = onnx.helper.np_dtype_to_tensor_dtype(nodes.dtype)
    n_outputs = 2 if n_columns == 1 and not multilabel else n_columns
    graph = onnx.helper.make_graph(
        nodes.nodes,
        "temperature",
        [onnx.helper.make_tensor_value_info("logits", kind, [None, n_columns])],
        [onnx.helper.make_tensor_value_info("probabilities", kind, [None, n_outputs])],
        nodes.constants,
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)


def _linear_logits(nodes: ConvertedNodes, operator: Any, model: Any) -> str:
    """Logits of a linear model; with several inputs, these are columns of X."""
    x = _columns(nodes, operator)
    coef = model.coef_.toarray() if hasattr(model.coef_, "toarray") else model.coef_
    products = nodes.add("MatMul", [x, nodes.constant(np.ascontiguousarray(coef.T, dtype=np.float64))])
    return nodes.add("Add", [products, nodes.constant(model.intercept_.astype(np.float64))])


def _columns(nodes: ConvertedNodes, operator: Any) -> str:
    """X, of one input or of several, which are some columns each."""
    parts = [_as_floats(nodes, variable) for variable in operator.inputs]
    return parts[0] if len(parts) == 1 else nodes.add("Concat", parts, axis=1)


def _as_floats(nodes: ConvertedNodes, variable: Any) -> str:
    if guess_proto_type(variable.type) == nodes.proto_type:
        return str(variable.full_name)
    return nodes.add("Cast", [variable.full_name], to=nodes.proto_type)


def _nodes_of(scope: Any, operator: Any, container: Any) -> ConvertedNodes:
    is_double = isinstance(operator.inputs[0].type, DoubleTensorType)
    return ConvertedNodes(scope, container, np.float64 if is_double else np.float32)


# What skl2onnx calls.


def _parse(scope: Any, model: Any, inputs: list[Any], custom_parsers: Any = None) -> list[Any]:
    """Declare an operator and its outputs; for exclusive classes, a map from labels to probabilities may follow."""
    del custom_parsers
    check_is_fitted(model)
    operator = scope.declare_local_operator(skl2onnx.get_model_alias(type(model)), model)
    operator.inputs = inputs
    floats = _float_type(inputs)
    operator.outputs.append(scope.declare_local_variable("label", Int64TensorType()))
    operator.outputs.append(scope.declare_local_variable("probabilities", floats()))
    if isinstance(model.classes_, list) or not scope.get_options(model, {"zipmap": True})["zipmap"]:
        return list(operator.outputs)
    zipmap, labels = scope.declare_local_operator("SklearnZipMap"), onnx_labels(model.classes_)
    if labels.dtype == np.int64:
        zipmap.classlabels_int64s, label_type = labels.tolist(), Int64TensorType([None])
    else:
        zipmap.classlabels_strings, label_type = [str(label).encode() for label in labels], StringTensorType([None])
    # Maps hold single precision only.
    operator.has_map, zipmap.inputs = True, operator.outputs
    zipmap.outputs.append(scope.declare_local_variable("output_label", label_type))
    of_labels = SequenceType(DictionaryType(label_type, FloatTensorType()))
    zipmap.outputs.append(scope.declare_local_variable("output_probability", of_labels))
    zipmap.init_status(is_evaluated=True)
    return list(zipmap.outputs)


def _set_shapes(operator: Any) -> None:
    """Set types and shapes of the outputs."""
    classes = operator.raw_operator.classes_
    n_rows, n_columns = operator.inputs[0].get_first_dimension(), len(classes)
    floats = FloatTensorType if _has_map(operator) else _float_type(operator.inputs)
    operator.outputs[1].type = floats([n_rows, n_columns])
    if isinstance(classes, list):
        operator.outputs[0].type = Int64TensorType([n_rows, n_columns])
    else:
        of_labels = Int64TensorType if onnx_labels(classes).dtype == np.int64 else StringTensorType
        operator.outputs[0].type = of_labels([n_rows])


def _convert_softmax(scope: Any, operator: Any, container: Any) -> None:
    model, label = operator.raw_operator, operator.outputs[0].full_name
    nodes = _nodes_of(scope, operator, container)
    z = _linear_logits(nodes, operator, model)
    label_of_largest(nodes, model.classes_, z, label)
    _give(nodes, operator, probabilities_of(nodes, z, model.coef_.shape[0], multilabel=False), z)


def _convert_sigmoids(scope: Any, operator: Any, container: Any) -> None:
    model, label = operator.raw_operator, operator.outputs[0].full_name
    nodes = _nodes_of(scope, operator, container)
    z = _linear_logits(nodes, operator, model)
    has_columns, names = isinstance(model.classes_, list), getattr(model, "label_names_", None)
    thresholds = nodes.constant(check_thresholds(model.threshold, len(model.classes_) if has_columns else 1, names))
    if has_columns:
        probabilities = nodes.add("Sigmoid", [z])
        whether_reached(nodes, probabilities, thresholds, label)
    elif len(model.classes_) == 2:
        probabilities = probabilities_of(nodes, z, 1, multilabel=False)
        chosen = whether_reached(nodes, nodes.add("Sigmoid", [z]), thresholds)
        labels_in(nodes, model.classes_, without_columns(nodes, chosen), label)
    else:
        probabilities = nodes.add("Softmax", [log_sigmoid(nodes, z)], axis=1)
        label_of_largest(nodes, model.classes_, z, label)
    _give(nodes, operator, probabilities, z)


def _convert_calibrator(scope: Any, operator: Any, container: Any) -> None:
    model, label = operator.raw_operator, operator.outputs[0].full_name
    nodes = _nodes_of(scope, operator, container)
    parts = getattr(model, "calibrated_estimators_", [model])
    own_label, probabilities = _calibrated(nodes, operator, parts[0])
    if len(parts) > 1 or parts[0] is not model:
        others = [_calibrated(nodes, operator, part)[1] for part in parts[1:]]
        total = nodes.add("Sum", [probabilities, *others])
        own_label, probabilities = None, nodes.add("Div", [total, nodes.constant(float(len(parts)))])
    if own_label is not None:
        nodes.add("Identity", [own_label], output=label)
    elif isinstance(model.classes_, list):
        whether_reached(nodes, probabilities, nodes.constant(0.5), label)
    else:
        numbers = nodes.add("ArgMax", [probabilities], axis=1, keepdims=0)
        labels_in(nodes, model.classes_, numbers, label)
    _give(nodes, operator, probabilities)


def _calibrated(nodes: ConvertedNodes, operator: Any, model: Any) -> tuple[str | None, str]:
    """The classifier's own label, where that is the prediction and not the most probable one; probabilities."""
    multilabel, n_classes = isinstance(model.classes_, list), len(model.classes_)
    if model.response_method_ is None:
        own_label, z, n_columns = None, _columns(nodes, operator), model.n_features_in_
    else:
        own_label, z = _classifier_logits(nodes, operator, model)
        n_columns = 1 if not multilabel and n_classes == 2 else n_classes
    keeps_order = model._fitted_kind == "temperature"
    bias = None if keeps_order else model.bias_
    temperature = np.atleast_1d(model.temperature_) if keeps_order else 1 / model.slope_
    z = scaled(nodes, z, temperature, bias)
    return own_label if keeps_order else None, probabilities_of(nodes, z, n_columns, multilabel=multilabel)


def _classifier_logits(nodes: ConvertedNodes, operator: Any, model: Any) -> tuple[str | None, str]:
    """The label that a calibrated classifier predicts, if that is not the most probable one, and its logits."""
    scope, container, multilabel = nodes.scope, nodes.container, isinstance(model.classes_, list)
    from_logits = model.response_method_ == "decision_function"
    classifier, last = _known_classifier(model, multilabel=multilabel)
    if not from_logits and nodes.dtype == np.float32:
        raise ValueError(
            f"TemperatureCalibrator takes logarithms of the probabilities of {type(last).__name__}, for which float32 "
            "has too few digits: give the graph inputs of type DoubleTensorType"
        )
    options = {"zipmap": False} | ({"raw_scores": True} if from_logits else {})
    for each in (classifier, last):
        scope.add_options(id(each), options)
        container.add_options(id(each), options)
    inner = scope.declare_local_operator(skl2onnx.get_model_alias(type(classifier)), classifier)
    inner.inputs = operator.inputs
    inner.outputs.append(scope.declare_local_variable("label", operator.outputs[0].type.__class__()))
    inner.outputs.append(scope.declare_local_variable("scores", _float_type(operator.inputs)()))
    label, scores = (variable.full_name for variable in inner.outputs)
    scores = nodes.add("Cast", [scores], to=nodes.proto_type)
    # SVC predicts by votes, labels have thresholds.
    own_label = label if isinstance(last, (SVC, *_LABELS)) else None
    n_classes = len(model.classes_)
    if from_logits:
        # For two classes some converters give z, some -z and z.
        return own_label, scores if multilabel or n_classes > 2 else last_column(nodes, scores)
    logs = nodes.add("Log", [nodes.add("Max", [scores, nodes.constant(np.finfo(np.float64).eps)])])
    if n_classes > 2:
        return None, logs
    return None, nodes.add("Sub", [last_column(nodes, logs), first_column(nodes, logs)])


def _known_classifier(model: Any, *, multilabel: bool) -> tuple[Any, Any]:
    """The classifier of a calibrator, and the last step if that is a pipeline. One that is not known is an error."""
    classifier = model.estimator_
    while isinstance(classifier, FrozenEstimator) or hasattr(classifier, "best_estimator_"):
        frozen = isinstance(classifier, FrozenEstimator)
        classifier = classifier.estimator if frozen else classifier.best_estimator_
    last = classifier
    while isinstance(last, Pipeline):
        last = last.steps[-1][1]
    if type(last) not in (_LABELS if multilabel else _CLASSIFIERS) or getattr(last, "probability", False) is True:
        known = ", ".join(sorted(kind.__name__ for kind in (_LABELS if multilabel else _CLASSIFIERS)))
        raise TypeError(
            f"a graph of TemperatureCalibrator can have one of these classifiers, in a pipeline or not: {known} "
            f"(SVC without probability=True); got {last!r}"
        )
    if not multilabel and list(last.classes_) != list(model.classes_):
        raise TypeError(f"a graph needs a classifier of the calibrator's classes, got {list(last.classes_)}")
    return classifier, last


def _has_map(operator: Any) -> bool:
    return bool(getattr(operator, "has_map", False))


def _float_type(inputs: list[Any]) -> Any:
    """The type of floats in a graph: double where the first input is, else float."""
    return DoubleTensorType if isinstance(inputs[0].type, DoubleTensorType) else FloatTensorType


def _give(nodes: ConvertedNodes, operator: Any, probabilities: str, z: str | None = None) -> None:
    """Give probabilities; or logits z, for two classes -z and z, with the option raw_scores."""
    model, output, result = operator.raw_operator, operator.outputs[1].full_name, probabilities
    if z is not None and nodes.container.get_options(model, {"raw_scores": False}, fail=False)["raw_scores"]:
        both = not isinstance(model.classes_, list) and len(model.classes_) == 2
        result = nodes.add("Concat", [nodes.add("Neg", [z]), z], axis=1) if both else z
    if _has_map(operator):
        nodes.add("Cast", [result], output=output, to=onnx.TensorProto.FLOAT)
    else:
        nodes.add("Identity", [result], output=output)


register()
