"""Explains the LSTM in a page: drawings, equations beside their code, measured curves, cells that run."""

from .page import body, script, style, title

__all__ = ["body", "script", "style", "title"]
