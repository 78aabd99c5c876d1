"""Repositories: from an address to the graph of its code and a vector for each file."""
