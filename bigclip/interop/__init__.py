"""Weights in and out: mapping tables between our parameters and other libraries' files."""
