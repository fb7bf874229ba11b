"""Serves saved models by HTTP: predictions, streams with a state of their own, metrics."""

from .requirements import EXTRA  # isort: skip
from .app import check_host, create_app, run
from .limits import Limits
from .models import load_models

__all__ = ["EXTRA", "Limits", "check_host", "create_app", "load_models", "run"]
