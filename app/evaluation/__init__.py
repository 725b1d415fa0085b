"""Forecast scores, binomial confidence intervals and baselines that need no fitting; NumPy only."""
