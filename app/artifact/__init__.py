"""The contract between training and serving: manifest, evidence, transforms, and artifacts on disk."""
