"""One file for each operator of a network, and one table of them all: registry.py."""
