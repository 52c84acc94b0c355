"""The coder: the same bytes on every machine, and what ill will can do with them."""
