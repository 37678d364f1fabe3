"""Model files read into graphs, and graphs with their tuned weights written back."""
