"""What edge and cloud agree on: numpy and the standard library, no files, sockets or clocks."""
