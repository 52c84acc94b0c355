"""The code generated from proto/glimpse/v1 (`make proto`); do not edit it."""
