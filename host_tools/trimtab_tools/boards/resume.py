"""Continue an interrupted run. What the host must remember is kept beside the package, in PACKAGE.run.

The board's state has the number of its run and its step. The same package, data, seed and epochs give the
same samples in the same order. So the file holds these, the number, and what the board held before the run.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

from ..errors import BoardError, UsageError
from ..output import write

WORDS = {
    "package": "another package",
    "data": "other data",
    "seed": "seed {}",
    "epochs": "{} epochs",
    "steps": "{} steps",
}


def describe(crc: int, samples: Sequence, seed: int, epochs: int) -> dict:
    """A description that is equal for two runs if they train the same."""
    digest = hashlib.sha256()
    for sample in samples:
        digest.update(b"%d %d %d;" % (len(sample.data), sample.label, sample.raw) + sample.data)
    return {
        "package": crc,
        "data": digest.hexdigest(),
        "seed": seed,
        "epochs": epochs,
        "steps": epochs * len(samples),
    }


class Run:
    """One run: its number, its description, what the board held before it."""

    def __init__(self, package: Path | str, what: dict):
        self.path = Path(f"{package}.run")
        self.what = what
        self.number = int.from_bytes(os.urandom(4), "little") | 1
        self.found: list[int] | None = None  # [run, step] of the board when the run began
        self.before: float | None = None  # the accuracy then, if it was measured

    @property
    def cut(self) -> bool:
        """Did an earlier process begin this run?"""
        return self.found is not None

    @classmethod
    def open(cls, package: Path | str, what: dict, resume: bool = False, restart: bool = False) -> "Run":
        """The interrupted run of this description, or else a new one; with `resume` never a new one."""
        run = cls(package, what)
        kept = run._read()
        other = [key for key in what if kept and kept["what"].get(key) != what[key]]
        if resume and other:
            then, now = (WORDS[other[0]].format(w[other[0]]) for w in (kept["what"], what))
            raise UsageError(
                f"the run that was cut had {then}"
                + (f", not {now}" if then != now else "")
                + ": give the same, or leave --resume out to start anew"
            )
        if resume and not kept:
            raise UsageError(f"no run of {package} was cut: leave --resume out")
        if kept and not other and not restart:
            run.number, run.found, run.before = kept["number"], kept["found"], kept["before"]
        return run

    def begins(self, info: dict) -> bool:
        """Whether the board must begin the run. Refuses a board that was trained by others since then."""
        here = [info["run"], info["step"]]
        if self.cut and info["run"] == self.number:
            return False
        if self.cut and here != self.found:
            raise BoardError(
                f"the board no longer holds the run that was cut (it is at step {info['step']} of "
                f"{info['total']} of another): start anew with --restart"
            )
        self.found = here
        self._write()
        return True

    def end(self) -> None:
        self.path.unlink(missing_ok=True)

    def _read(self):
        try:
            kept = json.loads(self.path.read_text())
            if isinstance(kept["what"], dict) and {"number", "found", "before"} <= set(kept):
                return kept
        except (OSError, ValueError, KeyError, TypeError):
            pass  # no file, or a damaged one: no run is known
        return None

    def _write(self):
        kept = {key: getattr(self, key) for key in ("what", "number", "found", "before")}
        write(self.path, json.dumps(kept))
