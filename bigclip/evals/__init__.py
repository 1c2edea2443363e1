"""Evaluation suites: pure functions from a model and records to metrics."""
