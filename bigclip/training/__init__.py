"""State, step, optimizer, schedules, metrics and guards of a training run."""
