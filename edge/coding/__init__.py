"""From pixels to a machine layer: the network, the profile, intra or inter."""
