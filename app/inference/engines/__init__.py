"""Engines: what executes a network. Each engine's module is imported only when that engine is chosen."""
