"""Ready-made scorers for ``GridSearchCV(scoring=...)`` and ``cross_validate``; a greater score is better."""

from typing import Any

from numpy.typing import ArrayLike
from sklearn.metrics import make_scorer

from skactivation.metrics.decomposition import calibration_decomposition
from skactivation.metrics.log_losses import cross_entropy, multilabel_log_loss
from skactivation.metrics.probability_scorer import ProbabilityScorer
from skactivation.metrics.reliability import expected_calibration_error


def miscalibration(y_true: Any, y_proba: ArrayLike, **parameters: Any) -> float:
    """The miscalibration of `calibration_decomposition`."""
    return calibration_decomposition(y_true, y_proba, **parameters).miscalibration


def discrimination(y_true: Any, y_proba: ArrayLike, **parameters: Any) -> float:
    """The discrimination of `calibration_decomposition`."""
    return calibration_decomposition(y_true, y_proba, **parameters).discrimination


neg_multilabel_log_loss = make_scorer(multilabel_log_loss, greater_is_better=False, response_method="predict_proba")
"""Scorer: minus `multilabel_log_loss`."""
neg_cross_entropy = make_scorer(cross_entropy, greater_is_better=False, response_method="predict_proba")
"""Scorer: minus `cross_entropy`."""
neg_expected_calibration_error = ProbabilityScorer(expected_calibration_error)
"""Scorer: minus `expected_calibration_error` of the top label."""
neg_classwise_calibration_error = ProbabilityScorer(expected_calibration_error, kind="classwise")
"""Scorer: minus `expected_calibration_error` averaged over the classes or labels."""
neg_log_loss_miscalibration = ProbabilityScorer(miscalibration, scoring="log_loss")
"""Scorer: minus the miscalibration part of `calibration_decomposition`, in nats."""
neg_brier_miscalibration = ProbabilityScorer(miscalibration, scoring="brier_score")
"""Scorer: minus the miscalibration part of `calibration_decomposition` of the Brier score."""
log_loss_discrimination = ProbabilityScorer(discrimination, greater_is_better=True, scoring="log_loss")
"""Scorer: the discrimination part of `calibration_decomposition`, in nats."""
brier_discrimination = ProbabilityScorer(discrimination, greater_is_better=True, scoring="brier_score")
"""Scorer: the discrimination part of `calibration_decomposition` of the Brier score."""
