"""What a frame costs on the edge."""
