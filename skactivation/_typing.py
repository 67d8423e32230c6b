"""Types: arrays of any dtype, and methods that a decorator gives back with their signature."""

from collections.abc import Callable
from typing import Any, TypeVar

from numpy.typing import NDArray

Array = NDArray[Any]
Method = TypeVar("Method", bound=Callable[..., Any])
