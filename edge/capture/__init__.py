"""From a source to RGB pixels: files, streams and devices, privacy masks burned in."""
