"""Where the right candidates stand: ranks in tiles, the metrics on them, and ranked examples."""
