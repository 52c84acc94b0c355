"""Bytes against accuracy: our layers, and pictures in the cloud, by the same detector."""
