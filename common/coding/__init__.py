"""Integers <-> bytes: the range coder, the counted tables and what chooses among them."""
