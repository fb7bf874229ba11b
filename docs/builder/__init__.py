"""Builds the documentation: the reference, the tables of figures, and the page that explains the LSTM."""
