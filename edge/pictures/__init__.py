"""What makes a picture for people better: auxiliary layers, sent when asked for, and stills."""
