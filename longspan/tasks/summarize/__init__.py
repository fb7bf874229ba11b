"""Summarises texts: one recurrent network reads a text, another writes or copies the words of a summary."""

from .summarizer import Summarizer

__all__ = ["Summarizer"]
