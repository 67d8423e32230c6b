"""scikit-learn's own tests with our estimators in the place of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import sklearn

TESTS = Path(__file__).parent
MODULES = [
    "ensemble.tests.test_bagging",
    "ensemble.tests.test_stacking",
    "ensemble.tests.test_voting",
    "feature_selection.tests.test_from_model",
    "feature_selection.tests.test_rfe",
    "inspection.tests.test_partial_dependence",
    "inspection.tests.test_permutation_importance",
    "model_selection.tests.test_classification_threshold",
    "semi_supervised.tests.test_self_training",
    "tests.test_calibration",
    "tests.test_multiclass",
    "tests.test_multioutput",
    "tests.test_pipeline",
]
# Tests that do not apply, each with its reason.
DO_NOT_APPLY = {
    "test_multiclass_multioutput_estimator_predict_proba": "has the digits of a fit that lbfgs stopped early",
    "test_temperature_scaling": "reads calibrated_classifiers_, the attribute of an ensemble of calibrators",
    "test_ovr_always_present": "has the words and probabilities of OneVsRestClassifier for constant labels",
    "test_constant_int_target": "has them, too",
    "test_multiclass_estimator_attribute_error": "asks for the error of partial_fit",
    "test_calibrated_classifier_cv_double_sample_weights_equivalence": "reads calibrated_classifiers_, too",
}


@pytest.mark.skipif(sklearn.__version__ < "1.9", reason="the tests of older versions differ")
@pytest.mark.parametrize("module", MODULES)
def test_scikit_learns_tests_pass_with_our_estimators(module, tmp_path):
    chosen = " and ".join(f"not {name}" for name in DO_NOT_APPLY)
    command = [sys.executable, "-W", "ignore", "-m", "pytest", "-q", "-p", "drop_in", "-p", "no:cacheprovider"]
    command += ["--pyargs", f"sklearn.{module}", "-k", chosen]
    environment = {**os.environ, "PYTHONPATH": str(TESTS), "PYTEST_ADDOPTS": "-p no:xdist"}
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=300)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-1000:]
    assert " passed" in result.stdout
