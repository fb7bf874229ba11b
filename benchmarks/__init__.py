"""Measures longspan beside its rivals, in the same run: `python -m benchmarks.cells`."""
