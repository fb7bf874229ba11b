"""Classifies videos: clips, their frames, and objects in them, by convolutional and recurrent networks."""

from .video_classifier import VideoClassifier

__all__ = ["VideoClassifier"]
