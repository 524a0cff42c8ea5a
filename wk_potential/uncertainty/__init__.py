"""Error bars of a model, how good they are, and what to do where they say that it leaves the known."""
