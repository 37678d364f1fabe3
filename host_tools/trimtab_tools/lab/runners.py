"""Where trials run: in processes of this machine, or on a Ray cluster.

A runner takes prepared samples and trials, and returns {trial: result}. Each result is written at once, so
an interrupted search continues where it stopped.
"""

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed

from ..errors import UsageError
from . import batch
from . import trial as trials
from .experiment import Prepared
from .progress import Progress, quiet
from .trial import Trial

Runner = Callable[..., dict[Trial, dict]]  # (prepared, trials, progress=quiet)


def local(
    prepared: Prepared, wanted: Sequence[Trial], workers: int = 2, progress: Progress = quiet
) -> dict[Trial, dict]:
    """Run the trials by so many processes of this machine."""
    results, todo = _known(prepared, wanted, progress)
    if not todo:
        return results
    workers = min(workers, len(todo))
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _adopt, (prepared, workers))
    try:
        waiting = {pool.submit(_run, trial): trial for trial in todo}
        for one in as_completed(waiting):
            results[waiting[one]] = one.result()
            progress(len(results), len(set(wanted)))
    finally:
        pool.shutdown(cancel_futures=True)
    return results


def _adopt(prepared, workers):
    """Runs once in each process of the pool, so that the samples are sent once and not with each trial."""
    global _prepared
    _prepared, batch.beside = prepared, workers


def _run(trial):
    return trials.run(_prepared, trial)


def cluster(address: str) -> Runner:
    """A runner on a Ray cluster: a worker for each CPU, on machines that have trimtab and get the data."""
    try:
        import ray
    except ImportError:
        raise UsageError("a cluster takes Ray: pip install trimtab[ray]") from None
    from ray.util import ActorPool

    def runner(prepared, wanted, progress=quiet):
        results, todo = _known(prepared, wanted, progress)
        if not todo:
            return results
        ray.init(address, ignore_reinit_error=True, log_to_driver=False)
        worker, source = ray.remote(Worker), ray.put(prepared.source)
        count = min(len(todo), int(ray.cluster_resources()["CPU"]))
        pool = ActorPool([worker.options(num_cpus=1).remote(source) for _ in range(count)])
        for trial, result in pool.map_unordered(lambda actor, trial: actor.run.remote(trial), todo):
            trials.keep(prepared, trial, result)
            results[trial] = result
            progress(len(results), len(set(wanted)))
        return results

    return runner


class Worker:
    """An actor of the cluster, which prepares the samples on its own machine."""

    def __init__(self, source: tuple):
        self.prepared = Prepared(*source)

    def run(self, trial: Trial) -> tuple[Trial, dict]:
        return trial, trials.run(self.prepared, trial)


def _known(prepared, wanted, progress):
    """(results that were kept, trials that are still to run)."""
    results = {trial: result for trial in wanted if (result := trials.find(prepared, trial))}
    progress(len(results), len(set(wanted)))
    return results, [trial for trial in dict.fromkeys(wanted) if trial not in results]
