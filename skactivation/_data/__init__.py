"""Input data: checked, and read block by block. Nothing here is fitted, and no estimator of this package is imported.

X: `inputs` checks it; `rows` chooses between `dense` and `sparse`, which implement `features` on top of `blocks`.
y: `labels` turns it into numbers; `class_columns` finds the class of each column of logits; `indicators` stores
multilabel y; `targets` gives all kinds of y to the losses.
Fitted classifiers: `responses` reads their probabilities, logits and classes.
"""
