"""Readers of files: tables, texts and word vectors."""
