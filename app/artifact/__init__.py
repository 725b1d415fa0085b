"""The contract between training and serving: the manifest, the transforms, and the artifact on disk."""
