"""What users hand in, made ready: features block by block, labels, indicators, targets, classifiers' outputs.

Nothing here is fitted or minimised, and nothing knows of an estimator of this package.
"""
