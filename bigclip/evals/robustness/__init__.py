"""Zero-shot accuracy on corrupted pictures."""
