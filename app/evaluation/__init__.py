"""Scores of forecasts, binomial confidence intervals, and baselines that need no fitting. Requires only NumPy."""
