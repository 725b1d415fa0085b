"""Benchmarks of single components, in one process."""
