"""glimpse: machines look first, people look rarely. The public Python package."""
