"""Pricecast serving: a REST API that forecasts prices with published artifacts."""

__version__ = "0.1.0"
