"""Servers that are measured: Pricecast, upper bounds and peers. Importing this package imports nothing else."""
