"""Error bars of a model that is trained: what the labels leave open of its last layer."""
