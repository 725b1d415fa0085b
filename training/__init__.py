"""The offline trainer: turns recipes and price histories into published artifacts."""
