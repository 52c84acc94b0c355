"""Layers against video on a fixed camera's clip: bytes at equal detection."""
