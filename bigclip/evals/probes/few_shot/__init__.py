"""Ridge regression on a few pictures of each class: the suite and its solver."""
