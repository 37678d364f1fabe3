"""A run that was cut goes on: what the host must remember of it, in a file beside the package (PACKAGE.run).

The board's state carries the number of its run and its step; samples, order and length are the same again
when package, data, seed and epochs are. So the file holds these, the number, and what the board held before.
"""

import hashlib
import json
import os
from pathlib import Path

from ..errors import BoardError, UsageError

WORDS = {
    "package": "another package",
    "data": "other data",
    "seed": "seed {}",
    "epochs": "{} epochs",
    "steps": "{} steps",
}


def describe(crc, samples, seed, epochs):
    """What makes two runs the same."""
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
    """One run: its number, what it trains, what the board held before it."""

    def __init__(self, package, what):
        self.path = Path(f"{package}.run")
        self.what = what
        self.number = int.from_bytes(os.urandom(4), "little") | 1
        self.found = None  # (run, step) of the board when it began
        self.before = None  # accuracy then, if it was asked for

    @property
    def cut(self):
        """Was it begun by an earlier process?"""
        return self.found is not None

    @classmethod
    def open(cls, package, what, resume=False, restart=False):
        """The run of this description that was cut, or a new one; `resume` refuses all but the former."""
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

    def begins(self, info):
        """Must the board begin it (or has it begun)? Refuses a board that was trained otherwise since."""
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

    def end(self):
        self.path.unlink(missing_ok=True)

    def _read(self):
        try:
            kept = json.loads(self.path.read_text())
            if isinstance(kept["what"], dict) and {"number", "found", "before"} <= set(kept):
                return kept
        except (OSError, ValueError, KeyError, TypeError):
            pass  # no run was cut, or nothing is known of it
        return None

    def _write(self):
        beside = self.path.with_name(self.path.name + ".new")
        beside.write_text(
            json.dumps({key: getattr(self, key) for key in ("what", "number", "found", "before")})
        )
        os.replace(beside, self.path)
