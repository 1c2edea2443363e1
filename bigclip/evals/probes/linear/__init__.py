"""Logistic regression on frozen features: the suite, its solver, its search and its files."""
