"""Bytes against the likeness and the realism of the picture that a person sees."""
