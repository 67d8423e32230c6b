"""Graphs of ONNX: nodes, and the parts that the graphs of estimators are made of. Takes the package onnx."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx

from skactivation._typing import Array


class Nodes:
    """Nodes and constants of a graph of its own; floats are of one dtype."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, values: Any) -> str:
        """The name of a constant."""
        array = np.asarray(values)
        array = array.astype(self.dtype) if array.dtype.kind == "f" else array
        return self._store(array)

    def add(self, operator: str, inputs: Sequence[str], *, output: str | None = None, **attributes: Any) -> str:
        """Add a node; return the name of its output."""
        name = self._name(operator) if output is None else output
        self._append(operator, inputs, name, attributes)
        return name

    def _name(self, operator: str) -> str:
        return f"{operator.lower()}_{len(self.nodes) + len(self.constants)}"

    def _store(self, array: Array) -> str:
        name = self._name("constant")
        self.constants.append(onnx.numpy_helper.from_array(array, name))
        return name

    def _append(self, operator: str, inputs: Sequence[str], output: str, attributes: dict[str, Any]) -> None:
        self.nodes.append(onnx.helper.make_node(operator, list(inputs), [output], **attributes))


class ConvertedNodes(Nodes):
    """The same in a graph that skl2onnx makes."""

    def __init__(self, scope: Any, container: Any, dtype: Any) -> None:
        super().__init__(np.dtype(dtype))
        self.scope, self.container = scope, container

    @property
    def proto_type(self) -> int:
        """The type of floats."""
        return int(onnx.helper.np_dtype_to_tensor_dtype(self.dtype))

    def _name(self, operator: str) -> str:
        return str(self.scope.get_unique_variable_name(operator.lower()))

    def _store(self, array: Array) -> str:
        name = self._name("constant")
        if array.dtype.kind in "OU":
            content: Any = [str(entry).encode() for entry in array.ravel()]
            self.container.add_initializer(name, onnx.TensorProto.STRING, list(array.shape), content)
        else:
            kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
            self.container.add_initializer(name, kind, list(array.shape), array.ravel())
        return name

    def _append(self, operator: str, inputs: Sequence[str], output: str, attributes: dict[str, Any]) -> None:
        name = self.scope.get_unique_operator_name(operator)
        self.container.add_node(operator, list(inputs), output, name=name, **attributes)


# Parts of graphs. Arrays are given by name.


def scaled(nodes: Nodes, z: str, temperature: Array, bias: Array | None) -> str:
    """Logits divided by temperatures, plus a bias. Infinite logits stay as they are."""
    result = nodes.add("Div", [z, nodes.constant(temperature)])
    if bias is not None:
        result = nodes.add("Add", [result, nodes.constant(bias)])
    return nodes.add("Where", [nodes.add("IsInf", [z]), z, result])


def probabilities_of(nodes: Nodes, z: str, n_columns: int, *, multilabel: bool) -> str:
    """Probabilities of labels, or of classes from their logits or from the one of the second of two."""
    if multilabel:
        return nodes.add("Sigmoid", [z])
    if n_columns == 1:
        both = nodes.add("Concat", [nodes.add("Neg", [z]), z], axis=1)
        return nodes.add("Sigmoid", [both])
    return nodes.add("Softmax", [z], axis=1)


def log_sigmoid(nodes: Nodes, z: str) -> str:
    decay = nodes.add("Exp", [nodes.add("Neg", [nodes.add("Abs", [z])])])
    rest = nodes.add("Log", [nodes.add("Add", [nodes.constant(1.0), decay])])
    return nodes.add("Sub", [nodes.add("Min", [z, nodes.constant(0.0)]), rest])


def labels_in(nodes: Nodes, classes: Array, numbers: str, output: str) -> None:
    """The labels with some numbers."""
    labels = onnx_labels(classes)
    nodes.add("Gather", [nodes.constant(labels), numbers], output=output, axis=0)


def onnx_labels(classes: Array) -> Array:
    """Labels as ONNX knows them: integers or strings. Floats are whole numbers."""
    is_large = classes.dtype.kind == "u" and classes.max() > np.iinfo(np.int64).max
    if classes.dtype.kind not in "biufOU" or is_large:
        raise TypeError(f"ONNX has integers of 64 bits and strings as labels, got classes of {classes.dtype}")
    return classes.astype(np.int64 if classes.dtype.kind in "biuf" else object)


def label_of_largest(nodes: ConvertedNodes, classes: Array, z: str, output: str) -> None:
    """The label of the largest logit; of two classes the second where its logit is positive."""
    if len(classes) == 2:
        positive = nodes.add("Cast", [nodes.add("Greater", [z, nodes.constant(0.0)])], to=onnx.TensorProto.INT64)
        numbers = without_columns(nodes, positive)
    else:
        numbers = nodes.add("ArgMax", [z], axis=1, keepdims=0)
    labels_in(nodes, classes, numbers, output)


def whether_reached(nodes: ConvertedNodes, probabilities: str, thresholds: str, output: str | None = None) -> str:
    """1 where probabilities are at least as large as thresholds, else 0."""
    below = nodes.add("Less", [probabilities, thresholds])
    return nodes.add("Cast", [nodes.add("Not", [below])], output=output, to=onnx.TensorProto.INT64)


def without_columns(nodes: ConvertedNodes, column: str) -> str:
    return nodes.add("Reshape", [column, nodes.constant(np.array([-1]))])


def first_column(nodes: ConvertedNodes, array: str) -> str:
    return nodes.add("Slice", [array, *(nodes.constant(np.array([place])) for place in (0, 1, 1))])


def last_column(nodes: ConvertedNodes, array: str) -> str:
    ends = nodes.constant(np.array([-1])), nodes.constant(np.array([np.iinfo(np.int64).max]))
    return nodes.add("Slice", [array, *ends, nodes.constant(np.array([1]))])
