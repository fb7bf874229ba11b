"""Language models: probabilities of text, and text that is generated."""

from .language_model import LanguageModel

__all__ = ["LanguageModel"]
