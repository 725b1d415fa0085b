"""Pricecast, offline: recipes and price history to published artifacts."""
