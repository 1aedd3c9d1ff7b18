"""How fast this machine runs models, and single layers: what a search on another machine needs to know of it."""
