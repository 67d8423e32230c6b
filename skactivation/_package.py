"""What all estimators have from this package: a version in their files, a link to its documentation."""

import warnings
from importlib.metadata import version
from typing import Any

from sklearn.exceptions import InconsistentVersionWarning

VERSION = version("skactivation")
_VERSION_KEY = "_skactivation_version"


class PackageMixin:
    """Writes the version of skactivation into files; warns where a file is of another one, as scikit-learn does."""

    # Read by scikit-learn's HTML representation of estimators.
    _doc_link_module = "skactivation"
    _doc_link_template = "https://skactivation.readthedocs.io/en/stable/api/{estimator_module}.{estimator_name}.html"

    def _doc_link_url_param_generator(self) -> dict[str, str]:
        """What the link's template takes: the public module, which is the package of the private one."""
        kind = type(self)
        return {"estimator_module": kind.__module__.rpartition(".")[0], "estimator_name": kind.__name__}

    def __getstate__(self) -> dict[str, Any]:
        state: Any = super().__getstate__()
        return {**state, _VERSION_KEY: VERSION}

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        written_by = state.pop(_VERSION_KEY, VERSION)
        if written_by != VERSION:
            warnings.warn(
                InconsistentVersionWarning(
                    estimator_name=type(self).__name__,
                    current_sklearn_version=VERSION,
                    original_sklearn_version=written_by,
                ),
                stacklevel=2,
            )
        parent: Any = super()
        parent.__setstate__(state)
