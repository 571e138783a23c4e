"""Data sets as labelling tools and archives of the web write them."""
