"""What to train: one file for each policy, the data of a plan, and the surgery that makes a head."""
