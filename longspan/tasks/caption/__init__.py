"""Describes pictures: a convolutional network sees them, a recurrent decoder with attention writes."""

from .captioner import Captioner

__all__ = ["Captioner"]
