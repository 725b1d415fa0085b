"""Pricecast, online: forecasts over REST from published artifacts."""

__version__ = "0.1.0"
