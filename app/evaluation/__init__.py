"""Scores of forecasts, and the baselines and intervals that need no fitting. NumPy only."""
