"""Recognizes speech: the texts of sounds by a recurrent network with CTC, whole or as a stream."""

from .recognizer import SpeechRecognizer

__all__ = ["SpeechRecognizer"]
