"""Knows how longspan is measured beside its rivals, in the same run: `python -m benchmarks.cells`."""
