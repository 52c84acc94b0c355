"""Each figure that the README quotes, measured: `python -m bench NAME`. May import everything."""
