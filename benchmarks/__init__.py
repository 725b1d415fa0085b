"""Benchmarks. They are run by hand; the test suite checks only their mechanics."""
