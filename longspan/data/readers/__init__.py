"""Readers of files: tables and texts."""
