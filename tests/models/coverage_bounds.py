"""The horizons at which default models are tested, and the required accuracy of their coverage."""

HORIZONS = (1, 5, 20)
TOLERANCES = {80: 4.0, 95: 2.0}  # by level, in percentage points of coverage one step ahead


def coverage_tolerance(level: int, horizon: int) -> float:
    """Return by how many percentage points the coverage of a level may be off."""
    return TOLERANCES[level] * (1 if horizon == 1 else 1.5)
