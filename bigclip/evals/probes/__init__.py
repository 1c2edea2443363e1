"""Linear classifiers on frozen features: logistic regression on the devices, by the book."""
