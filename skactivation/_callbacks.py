"""What a fit tells those who watch it: scikit-learn's callbacks, and lines of progress.

scikit-learn has callbacks from 1.9 on. With earlier versions estimators have no `set_callbacks`, and all else is the
same.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from time import monotonic
from typing import Any, cast

from skactivation._typing import Method

try:
    import sklearn.callback as supported
except ImportError:
    supported = None

__all__ = ["NO_TASK", "CallbackSupportMixin", "Task", "Watch", "with_callbacks"]

# Seconds between lines of progress.
_INTERVAL = 1.0


class _NoCallbacks:
    """What estimators have in place of scikit-learn's mixin where there are no callbacks."""


CallbackSupportMixin: Any = _NoCallbacks if supported is None else supported.CallbackSupportMixin


def with_callbacks(fit: Method) -> Method:
    """scikit-learn's decorator of this name, for a `fit` that makes a `Watch`: callbacks end with it in any case."""
    if supported is not None:
        return cast(Method, supported.with_callbacks(fit))

    @wraps(fit)
    def called_by_a_decorator(*args: Any, **kwargs: Any) -> Any:
        # Warnings count calls to name the caller of `fit`: scikit-learn's decorator makes one more.
        return fit(*args, **kwargs)

    return cast(Method, called_by_a_decorator)


class Watch:
    """Those who watch the fit of an estimator. Made once, when `fit` begins; `fit` is decorated with `with_callbacks`.

    Parameters
    ----------
    estimator : estimator
        The estimator.
    X, y, sample_weight : object
        The data, as given.
    n_tasks : int or None
        Number of tasks; None if it is not known.
    part : estimator or None
        Another estimator that is fitted on the way. Its callbacks see of which fit it is a part.
    """

    def __init__(
        self, estimator: Any, X: Any, y: Any, sample_weight: Any, *, n_tasks: int | None = None, part: Any = None
    ) -> None:
        self._estimator = estimator
        self._started = self._told = monotonic()
        self._data = {"X": X, "y": y, "metadata": None if sample_weight is None else {"sample_weight": sample_weight}}
        self._context: Any = None
        # scikit-learn sets this attribute. A fit that nobody watches makes no tasks, which would slow down small fits.
        is_watched = any(getattr(each, "_skl_callbacks", None) for each in (estimator, part))
        if is_watched and hasattr(estimator, "_init_callback_context"):
            self._context = estimator._init_callback_context(max_subtasks=n_tasks)
            self._context.call_on_fit_task_begin(estimator=estimator, **self._data)

    @property
    def has_callbacks(self) -> bool:
        """Whether scikit-learn's callbacks watch."""
        return self._context is not None

    @property
    def is_verbose(self) -> bool:
        """Whether lines of progress are asked for."""
        return bool(self._estimator.verbose)

    def task(self, name: str, *, with_data: bool = True) -> "Task":
        """A part of the fit; callbacks are given the data, if it has to do with all of them."""
        if self._context is None:
            return NO_TASK
        return Task(self._context.subcontext(task_name=name), self._estimator, self._data if with_data else {})

    def iteration(self, attributes: Callable[[], dict[str, Any]]) -> bool:
        """Tell of an iteration, with what gives the fitted attributes; whether a callback asks to stop."""
        task = self.task("iteration")
        task.begin()
        return task.end(attributes)

    def end(self, text: str = "done") -> None:
        """Tell that the estimator is fitted; the text ends lines of progress, if there are any."""
        if self._told > self._started:
            self._print(text)
        if self._context is not None:
            self._context.call_on_fit_task_end(estimator=self._estimator, **self._data, reconstruction_attributes=dict)

    def line(self, text: Callable[[], str]) -> None:
        """Print a line of progress, at most one a second, if the estimator is verbose."""
        now = monotonic()
        if self.is_verbose and now - self._told >= _INTERVAL:
            self._told = now
            self._print(text())

    def _print(self, text: str) -> None:
        seconds = monotonic() - self._started
        print(f"[{type(self._estimator).__name__}] {seconds:.1f} s: {text}", flush=True)


class Task:
    """A part of a fit, which may go on in another process."""

    def __init__(self, context: Any, estimator: Any, data: dict[str, Any]) -> None:
        self._context, self._estimator, self._data = context, estimator, data

    def begin(self) -> None:
        """Tell that it begins."""
        if self._context is not None:
            self._context.call_on_fit_task_begin(estimator=self._estimator, **self._data)

    @contextmanager
    def fitting(self, estimator: Any) -> Iterator[None]:
        """The context in which the task is done: the fit of another estimator, which the callbacks watch, too."""
        if self._context is None:
            yield
            return
        with self._context.propagate_callback_context(estimator):
            self.begin()
            yield
        self.end()

    def end(self, attributes: Callable[[], dict[str, Any]] | None = None) -> bool:
        """Tell that it ends; whether a callback asks to stop."""
        if self._context is None:
            return False
        stops = self._context.call_on_fit_task_end(
            estimator=self._estimator, **self._data, reconstruction_attributes=attributes
        )
        return bool(stops)


NO_TASK = Task(None, None, {})
"""A part of a fit that nobody is told of."""
