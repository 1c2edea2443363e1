"""Whether the embedding space is in order: its geometry, its logits, a map."""
