"""Many samples on several threads, with the results of one.

The C kernels run without the interpreter's lock. Each thread has a net of its own, with the state of the
given one: what a sample leaves in the arena is no other's business. Work must not change the state.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any, TypeVar

from trimtab.net import Net

from ..boards import simulated

CHUNK = 16  # samples of one task: work in between costs little, and Ctrl-C waits for no more of them
Answer = TypeVar("Answer")

beside = 1  # processes that share the processors with this one, itself included


def processors() -> int:
    """How many processors this process may use."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, there // beside)


def each(
    net: Net, work: Callable[[Net, int], Answer], count: int, threads: int | None = None
) -> Iterator[Answer]:
    """work(a net like this one, i) for all i below `count`, in order; by default on all processors."""
    threads = min(threads or processors(), -(-count // CHUNK))
    if threads < 2 or net.kernels == "plain":  # plain kernels hold the lock
        yield from (work(net, i) for i in range(count))
        return
    nets: SimpleQueue[Net] = SimpleQueue()
    for one in (net, *(copied(net) for _ in range(threads - 1))):
        nets.put(one)

    def some(first: int) -> list[Answer]:
        one = nets.get()
        try:
            return [work(one, i) for i in range(first, min(first + CHUNK, count))]
        finally:
            nets.put(one)

    with ThreadPoolExecutor(threads) as pool:
        for answers in pool.map(some, range(0, count, CHUNK)):
            yield from answers


def copied(net: Net) -> Net:
    """A net of the same package with the same state, in memory of its own."""
    copy = Net(net.package, simulated.tier(net.kernels))
    copy.state[:] = net.state
    copy.follow()
    return copy


def evaluate(net: Net, samples: Sequence[tuple[Any, Any]], threads: int | None = None) -> float:
    """As net.evaluate(): the share of samples whose label is right (mse: the mean loss)."""
    if not samples:
        return net.evaluate(samples)  # which refuses
    scores = each(net, lambda one, i: one.evaluate(samples[i : i + 1]), len(samples), threads)
    return sum(scores) / len(samples)
