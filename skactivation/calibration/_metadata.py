"""Metadata routing of `TemperatureCalibrator.fit`: which parameters the classifier and the splitter receive."""

from typing import Any

from sklearn import get_config
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.utils.metadata_routing import process_routing
from sklearn.utils.validation import has_fit_parameter

from skactivation.calibration._scaling import Messages


def routed_params(
    calibrator: Any, estimator: Any, sample_weight: Any, fit_params: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any], Messages]:
    """Parameters of the classifier's fit and of the splitter's split; warnings to emit."""
    if get_config()["enable_metadata_routing"]:
        weighted = {} if sample_weight is None else {"sample_weight": sample_weight}
        routed = process_routing(calibrator, "fit", **weighted, **fit_params)
        return routed.estimator.fit, routed.splitter.split, []
    frozen = isinstance(estimator, FrozenEstimator)
    if frozen and fit_params:
        raise TypeError(
            f"a frozen classifier is not fitted: fit takes X, y and sample_weight only, got {sorted(fit_params)}"
        )
    if "groups" in fit_params:
        raise ValueError(
            "fit got groups, which reach the splitter only with metadata routing: call "
            "sklearn.set_config(enable_metadata_routing=True)"
        )
    if sample_weight is None:
        return fit_params, {}, []
    # GridSearchCV and RandomizedSearchCV pass sample_weight on to their own estimator.
    inner = estimator.estimator if isinstance(estimator, (GridSearchCV, RandomizedSearchCV)) else estimator
    if has_fit_parameter(inner, "sample_weight"):
        return {**fit_params, "sample_weight": sample_weight}, {}, []
    if frozen or any("sample_weight" in name for name in fit_params):
        return fit_params, {}, []
    message = (
        f"{type(estimator).__name__}.fit takes no sample_weight, so only the calibration is weighted. If it is a "
        "pipeline or a search, enable scikit-learn's metadata routing and request sample_weight"
    )
    return fit_params, {}, [(message, UserWarning)]
