"""An attentive classifier on frozen tokens: the suite and its head."""
