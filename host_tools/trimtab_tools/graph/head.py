"""The numbers of a trained head: what 1.0 is in its integers."""

WEIGHT_ONE = 1 << 12
BIAS_ONE = 1 << 16
DIRECTION_ONE = 1 << 14  # of a prototype
COSINES = 10  # times cosine is a logit of a prototype head
