"""Arrays, tensors and data frames of other libraries: the only place that knows them, by what they can do.

No library is imported for it but narwhals, which comes with scikit-learn from 1.9 on and knows data frames.
"""

import sys
from functools import wraps
from typing import Any, cast

import narwhals.stable.v1 as nw
import numpy as np
from sklearn import get_config

from skactivation._typing import Array, Method

# What may go wrong when a tensor is made an array: it is on another device, has a dtype that NumPy lacks, and so on.
_ERRORS = (TypeError, ValueError, RuntimeError, BufferError, AttributeError)


def is_tensor(values: Any) -> bool:
    """Whether values are an array of another library than NumPy."""
    return hasattr(values, "__dlpack__") and not isinstance(values, (np.ndarray, np.generic))


def without_tensors(values: Any, name: str) -> Any:
    """A NumPy array with the numbers of a tensor, from any device; anything else as it is.

    The numbers of a tensor that requires a gradient are taken without it. bfloat16 and smaller floats become float32.
    """
    return _from_tensor(values, name) if is_tensor(values) else values


def with_known_dtype(array: Array) -> Array:
    """An array as float32 if it holds bfloat16 or smaller floats of the package ml_dtypes, as JAX and TensorFlow do."""
    return array.astype(np.float32) if array.dtype.kind == "V" and "float" in array.dtype.name else array


def _from_tensor(tensor: Any, name: str) -> Array:
    try:
        if callable(getattr(tensor, "detach", None)):
            # PyTorch: NumPy has no bfloat16.
            numbers = tensor.detach().cpu()
            return np.asarray(numbers.float() if "float" in str(numbers.dtype) and numbers.itemsize < 4 else numbers)
        return with_known_dtype(_on_the_cpu(tensor))
    except _ERRORS as error:
        kind = f"{type(tensor).__module__}.{type(tensor).__qualname__}"
        raise TypeError(
            f"{name} must be an array that NumPy can read, got a {kind}: {error}; copy it to the CPU, as an array of a "
            "dtype that NumPy has"
        ) from error


def _on_the_cpu(tensor: Any) -> Array:
    if hasattr(tensor, "__cuda_array_interface__") and callable(getattr(tensor, "get", None)):
        # CuPy.
        return np.asarray(tensor.get())
    try:
        return np.asarray(tensor)
    except _ERRORS:
        # A copy from another device, which NumPy can ask for from 2.1 on.
        return np.asarray(np.from_dlpack(tensor, device="cpu"))


def like(result: Any, X: Any) -> Any:
    """Predictions as an array of the library and on the device of X, where scikit-learn's array API dispatch is on.

    Strings stay in NumPy's array: other libraries have none.
    """
    if isinstance(X, np.ndarray) or not is_tensor(X) or not get_config()["array_api_dispatch"]:
        return result
    if not isinstance(result, np.ndarray) or result.dtype.kind not in "biuf":
        return result
    library = sys.modules[type(X).__module__.partition(".")[0]]
    namespace = X.__array_namespace__() if hasattr(X, "__array_namespace__") else library
    return namespace.asarray(result, device=X.device) if hasattr(namespace, "asarray") else result


def in_library_of_x(method: Method) -> Method:
    """Let a method for predictions, of an estimator and X, return what `like` makes of them."""

    @wraps(method)
    def predicted(self: Any, X: Any) -> Any:
        return like(method(self, X), X)

    return cast(Method, predicted)


def columns_of(frame: Any) -> list[tuple[Any, str]]:
    """Name and dtype, in the words of its library, of each column of a data frame in memory; none for anything else."""
    if isinstance(frame, np.ndarray):
        return []
    if nw.dependencies.is_pandas_like_dataframe(frame):
        # Its columns may have any names, also the same; narwhals allows that nowhere.
        return list(zip(frame.columns, map(str, frame.dtypes), strict=True))
    frame = _as_table(frame)
    if not nw.dependencies.is_into_dataframe(frame):
        return []
    try:
        schema = nw.from_native(frame, eager_only=True).schema
    except Exception as error:
        raise ValueError(f"the columns of a data frame of {type(frame).__module__} cannot be read: {error}") from error
    return [(name, str(dtype)) for name, dtype in schema.items()]


def entries_of(frame: Any, place: int) -> Any:
    """What can be iterated for the entries of a data frame's column, as Python's numbers and strings."""
    if nw.dependencies.is_pandas_like_dataframe(frame):
        return frame.iloc[:, place]
    known = nw.from_native(_as_table(frame), eager_only=True)
    return known[known.columns[place]]


def _as_table(frame: Any) -> Any:
    """A record batch of Arrow as a table; anything else as it is."""
    pyarrow = sys.modules.get("pyarrow")
    return pyarrow.Table.from_batches([frame]) if pyarrow and isinstance(frame, pyarrow.RecordBatch) else frame


def refuse_not_in_memory(values: Any, name: str) -> None:
    """Raise an error for a Dask collection, or a data frame, whose data are not in memory."""
    if isinstance(values, np.ndarray):
        return
    if hasattr(values, "__dask_graph__"):
        raise TypeError(
            f"{name} must be in memory, got a Dask collection, which would be pulled into it as a whole: use an "
            f"estimator or function of skactivation.dask, or pass {name}.compute()"
        )
    # Looking at the attribute itself may be expensive: the names of a lazy frame take a look at its data.
    columns = getattr(type(values), "columns", getattr(values, "__dict__", {}).get("columns"))
    if columns is None or callable(columns):
        return
    frame = _as_table(values)
    if not nw.dependencies.is_pandas_like_dataframe(frame) and not nw.dependencies.is_into_dataframe(frame):
        raise TypeError(
            f"{name} must be an array or a data frame in memory, got {type(values).__module__}."
            f"{type(values).__qualname__}; compute or collect it, and pass a pandas, polars or Arrow table"
        )


def column_names(frame: Any, name: str) -> list[Any] | None:
    """The names of a data frame's columns; None for anything else. Frames that are not in memory are an error."""
    refuse_not_in_memory(frame, name)
    return [name for name, _ in columns_of(frame)] or None
