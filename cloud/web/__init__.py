"""The viewer page: live boxes and stored frames in a browser, for whoever has a viewer's token."""
