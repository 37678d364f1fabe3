"""What is shown while a board works: text and a progress bar for people, JSON lines for programs."""

import json
import time
from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Lines:
    """Prints for people, with a progress bar, or one JSON object a line."""

    def __init__(self, as_json: bool = False):
        self.json = as_json

    def say(self, row: dict, text: str) -> None:
        print(json.dumps(row) if self.json else text, flush=True)

    def progress(self, what: str, results: Iterable, total: int) -> Iterator:
        """Pass results through, showing speed and the time left."""
        if self.json:
            yield from results
            return
        with bar() as shown:
            task, start = shown.add_task(what, total=total, speed=""), time.monotonic()
            for n, result in enumerate(results, 1):
                yield result
                shown.update(task, completed=n, speed=f"{n / max(time.monotonic() - start, 1e-9):.1f}/s")


def bar(wanted: bool = True) -> Progress:
    """A progress bar on stderr, shown only on a terminal."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
        transient=True,
        console=console,
        disable=not (wanted and console.is_terminal),
    )
