"""Forecasts of one or many series, with calibrated intervals."""

from .forecaster import Forecaster

__all__ = ["Forecaster"]
