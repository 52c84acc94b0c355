"""The server process: takes layers in, stores them, detects on them, hands out what it saw."""
