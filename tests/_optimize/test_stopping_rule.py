"""The stopping rule: what is close, and how much more is asked for after a certificate that failed."""

import numpy as np
from numpy.testing import assert_array_equal
from test_objective import sigmoid_objective

from skactivation._optimize.masks import ALL
from skactivation._optimize.objective import Curvature
from skactivation._optimize.preconditioner import precondition
from skactivation._optimize.problems import Evaluate
from skactivation._optimize.stopping_rule import StoppingRule


def test_a_certificate_that_failed_asks_for_more_until_values_cannot_be_told_apart():
    objective = sigmoid_objective()
    point = Evaluate()(objective, np.zeros(objective.shape))
    made = precondition(objective, point.theta, Curvature.WHOLE)
    relative = made.decrements(point.gradient) / point.values
    rule = StoppingRule(2, tol=1e-6, certified=True)
    near = 2 * relative.max()
    assert_array_equal(rule.are_close(ALL, objective, point, made, near), True)
    first = np.array([True, False])
    rule.be_stricter(first)
    assert_array_equal(rule.are_close(ALL, objective, point, made, near), [False, True])
    assert not rule.is_exhausted(ALL).any()
    for _ in range(3):
        rule.be_stricter(first)
    assert_array_equal(rule.is_exhausted(ALL), first)
    assert_array_equal(rule.are_close(ALL, objective, point, made, near), True)
    rule.reset(first)
    assert not rule.is_exhausted(ALL).any()


def test_a_stage_ends_when_half_of_the_problems_are_close_to_a_tenth_of_what_is_wanted():
    objective = sigmoid_objective()
    point = Evaluate()(objective, np.zeros(objective.shape))
    made = precondition(objective, point.theta, Curvature.WHOLE)
    low, high = np.sort(made.decrements(point.gradient) / point.values)
    rule = StoppingRule(2, tol=1e-6, certified=True)
    assert not rule.enough_are_close(ALL, objective, point, made, 9 * low)
    assert rule.enough_are_close(ALL, objective, point, made, 11 * low)
    assert not rule.enough_are_near(ALL, point, made)
    assert StoppingRule(2, tol=1.1 * low, certified=True).enough_are_near(ALL, point, made)
    assert not StoppingRule(2, tol=0.9 * low, certified=True).enough_are_near(ALL, point, made)
    assert low < high
