"""The network between model file and package: its graph, its geometry, its rounding, its records."""
