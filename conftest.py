"""Modules whose optional packages are missing are not searched for examples."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("skl2onnx") else ["skactivation/onnx.py", "skactivation/_onnx_graphs.py"]
collect_ignore += [] if find_spec("distributed") else ["skactivation/dask", "tests/dask"]
