"""What pc.py and pc_torch.py time alike."""

import time


def turn(work, ns):
    """Call `work` for so many nanoseconds; the least time of a call."""
    best, end = float("inf"), time.perf_counter_ns() + ns
    while True:
        start = time.perf_counter_ns()
        if start > end and best < float("inf"):
            return best
        work()
        best = min(best, time.perf_counter_ns() - start)
