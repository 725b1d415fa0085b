"""The offline trainer: from recipes and price history to published artifacts."""
