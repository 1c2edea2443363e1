"""The nearest neighbours of frozen features."""
