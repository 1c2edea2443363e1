"""What a run begins with when `config.init_from` names a checkpoint."""
