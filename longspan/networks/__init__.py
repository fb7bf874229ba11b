"""Networks and parts of networks that several tasks share."""

from .decoder import Decoder, DecoderOutput, DecoderState
from .encoder import Encoder

__all__ = ["Decoder", "DecoderOutput", "DecoderState", "Encoder"]
