"""Metrics of probabilities: calibration errors, and losses that scikit-learn does not have.

`expected_calibration_error`, `reliability_curve` and `calibration_decomposition` measure calibration.
`multilabel_log_loss` and `multilabel_precision_recall` accept unknown labels, `cross_entropy` accepts soft targets.
There is a scorer for each metric of probabilities, for ``GridSearchCV(scoring=...)``; scorers whose names begin with
``neg_`` return minus the metric. Do not select models by calibration error alone: uninformative probabilities can be
perfectly calibrated. `skactivation.displays` draws the curves.
"""

from skactivation.metrics._scorers import (
    brier_discrimination,
    log_loss_discrimination,
    neg_brier_miscalibration,
    neg_classwise_calibration_error,
    neg_cross_entropy,
    neg_expected_calibration_error,
    neg_log_loss_miscalibration,
    neg_multilabel_log_loss,
)
from skactivation.metrics.decomposition import CalibrationDecomposition, calibration_decomposition
from skactivation.metrics.log_losses import cross_entropy, multilabel_log_loss
from skactivation.metrics.precision_recall import PrecisionRecall, multilabel_precision_recall
from skactivation.metrics.probability_scorer import ProbabilityScorer
from skactivation.metrics.reliability import ReliabilityCurve, expected_calibration_error, reliability_curve

__all__ = [
    "CalibrationDecomposition",
    "PrecisionRecall",
    "ProbabilityScorer",
    "ReliabilityCurve",
    "brier_discrimination",
    "calibration_decomposition",
    "cross_entropy",
    "expected_calibration_error",
    "log_loss_discrimination",
    "multilabel_log_loss",
    "multilabel_precision_recall",
    "neg_brier_miscalibration",
    "neg_classwise_calibration_error",
    "neg_cross_entropy",
    "neg_expected_calibration_error",
    "neg_log_loss_miscalibration",
    "neg_multilabel_log_loss",
    "reliability_curve",
]
