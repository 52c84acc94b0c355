"""Training and export: `python -m train --help`."""
