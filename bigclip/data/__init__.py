"""Data: sources of records, their order, decoding, augmentation, tokens, batches."""
