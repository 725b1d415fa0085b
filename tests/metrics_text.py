"""Reads the Prometheus text format."""


def parse_metrics(text: str) -> dict[str, float]:
    """Return all samples, by name and labels as they are written."""
    samples = (line.rpartition(" ") for line in text.splitlines() if line[0] != "#")
    return {name: float(value) for name, _, value in samples}
