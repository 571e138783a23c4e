"""A server that puts a detector on a network; the packages of the extra ``serve``."""
