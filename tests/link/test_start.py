"""From a board's prompt to frames: what stands in the way becomes a sentence."""

import pytest
from trimtab_tools.errors import LinkError
from trimtab_tools.link.client import Client
from trimtab_tools.link.start import cure
from trimtab_tools.link.transport import Pair


def test_a_board_that_is_silent():
    a, _ = Pair.make()
    with pytest.raises(LinkError, match="does not answer|has not answered"):
        Client(lambda: a, patience_ms=300).connect()


@pytest.mark.parametrize(
    "said, sentence",
    [
        (
            "ImportError: no module named 'trimtab'",
            "the board has no trimtab library: run `trimtab deploy x.ttp`",
        ),
        ("OSError: [Errno 2] ENOENT", "the board has no file x.ttp: run `trimtab deploy x.ttp`"),
        (
            "MemoryError: package needs 90000 bytes of arena, 70000 are free: compile with a smaller --ram",
            "package needs 90000 bytes of arena, 70000 are free: compile with a smaller --ram",
        ),
        (
            "MemoryError: memory allocation failed, allocating 90000 bytes",
            "x.ttp does not fit the board's free RAM: compile it again with a smaller --ram",
        ),
        ("ValueError: x.ttp is damaged: deploy it again", "x.ttp is damaged: deploy it again"),
        ("KeyError: 5", "the board cannot load x.ttp: KeyError: 5"),
    ],
)
def test_tracebacks_become_sentences(said, sentence):
    traceback = 'OK\x04Traceback (most recent call last):\r\n  File "<stdin>", line 1\r\n%s\r\n\x04>'
    assert cure(traceback % said, "x.ttp") == sentence
