"""Networks and parts of networks that several tasks share."""

from .encoder import Encoder

__all__ = ["Encoder"]
