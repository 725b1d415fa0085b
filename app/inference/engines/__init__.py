"""What executes a network. `base.py` says what an engine is; a module is imported only when its engine is chosen."""
