"""A trained detector at work: pictures, videos and cameras, and a page to try it on."""
