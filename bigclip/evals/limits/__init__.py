"""Suite `limits`: counting, relations, word order, attributes and negation on generated scenes."""
