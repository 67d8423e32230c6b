"""The solver: P separate problems of K logits each, minimised by SciPy's L-BFGS and Newton's method, and certified.

`objective.py` says what can be minimised, `solver.py` in which order. Nothing here knows X, y or an estimator.
"""
