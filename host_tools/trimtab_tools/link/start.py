"""From a MicroPython prompt to frames: stop what the board runs, and have it serve a package."""

import re

from ..errors import BoardError, LinkError
from .transport import Transport, now_ms

REPL_MS = 8000  # an emulated board on a busy machine takes more than three seconds
LOAD_MS = 60000
PROMPT = b"raw REPL; CTRL-B to exit\r\n>"
SOFT_RESET = b"\r\x03\x03\x02\x04"  # stop the program, leave the raw REPL, restart
LEAVE_RAW = b"\r\x02"

DEPLOY = "run `trimtab deploy {package}`"

# What the last line of a traceback says -> what we say. The first match counts.
CURES = (
    (r"ImportError: no module named '_?trimtab", "the board has no trimtab library: " + DEPLOY),
    (r"OSError: \[Errno 2\]|ENOENT", "the board has no file {package}: " + DEPLOY),
    (r"MemoryError: (package needs .*)", "{0}"),
    (r"MemoryError", "{package} does not fit the board's free RAM: compile it again with a smaller --ram"),
    (r"(?:ValueError|PackageError): (.*)", "{0}"),
    (r"(\w+(?:: .*)?)$", "the board cannot load {package}: {0}"),
)


def serve(line: Transport, package: str) -> None:
    """Stop what the board runs and have it serve `package`; from then on the line carries frames."""
    enter(line)
    line.write(b"import trimtab.serve\ntrimtab.serve.main(%r)\n\x04" % package)
    said = _until(line, (b"\0", b"\x04>"), LOAD_MS)  # the first frame begins, or the prompt is back
    if said.endswith(b"\x04>"):
        raise BoardError(cure(said.decode(errors="replace"), package))
    if not said.endswith(b"\0"):
        seconds = LOAD_MS // 1000
        raise LinkError(f"the board did not load {package} within {seconds} s: reset it and try again")


def enter(line: Transport) -> None:
    """Bring the board to the prompt of its raw REPL, with nothing left of what ran before."""
    line.write(b"\0\x03\x03")  # the zero ends a frame that was cut
    _until(line, None, 250)
    line.write(b"\r\x01")
    here = _until(line, PROMPT, REPL_MS).endswith(PROMPT)
    if here:  # a soft reset frees what ran before; in raw mode main.py does not start again
        line.write(b"\x04")
        here = _until(line, PROMPT, REPL_MS).endswith(PROMPT)
    if not here:
        raise LinkError("the board shows no MicroPython prompt: flash it and close what else uses its port")


def cure(said: str, package: str) -> str:
    """One sentence for a traceback."""
    last = said.rstrip("\x04> \r\n").rsplit("\n", 1)[-1].strip("\x04\r ")
    for pattern, sentence in CURES:
        found = re.search(pattern, last)
        if found:
            return sentence.format(*found.groups(), package=package)
    return f"the board cannot load {package}: {last}"


def _until(line, ending, timeout_ms):
    """Read until one of the endings comes. Without endings, read until the line is silent for that time.

    Endings are looked for byte by byte, since the bytes that follow belong to frames.
    """
    data = b""
    end = now_ms() + timeout_ms
    while now_ms() < end:
        some = line.read(1 if ending else 256, 50)
        data += some
        if ending and data.endswith(ending):
            break
        if ending is None and some:
            end = now_ms() + timeout_ms
    return data
