"""The networks, one file each: the edge's is exported from here, the cloud's is loaded here."""
