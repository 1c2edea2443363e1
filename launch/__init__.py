"""Start runs: here, and wherever chips are."""
