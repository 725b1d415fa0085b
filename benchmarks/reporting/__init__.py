"""Reports of a run: goals, tables and a chart."""
