"""Anomalies in series of readings: scores, alarms and their causes."""

from .detector import AnomalyDetector

__all__ = ["AnomalyDetector"]
