"""Translates texts: one recurrent network reads a text, another writes it in the other language."""

from .translator import Translator

__all__ = ["Translator"]
