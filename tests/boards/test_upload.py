"""A large package over the emulated USB: with progress, checked, and where it stopped it goes on.

60 KB; TRIMTAB_LONG=1 takes 500 KB.
"""

import os

import pytest
from lines import tiny
from trimtab.format import HEADER, PHASES, SECTIONS
from trimtab_tools.boards import deploy
from trimtab_tools.boards.files import library_files
from trimtab_tools.boards.pico import Pico
from trimtab_tools.compiler import emit
from trimtab_tools.link.repl import mpremote
from trimtab_tools.toolchain.boards import provide

SIZE = 500_000 if os.environ.get("TRIMTAB_LONG") else 60_000


def padded(data, size):
    """A package of that size: what it is larger by is a section that no board reads."""
    words = memoryview(data[8:]).cast("B")
    numbers = [
        int.from_bytes(words[4 * i : 4 * i + 4], "little")
        for i in range(len(HEADER) + 3 * len(SECTIONS) + 2 * len(PHASES))
    ]
    spans = {name: numbers[len(HEADER) + 3 * i :][:2] for i, name in enumerate(SECTIONS)}
    parts = {name: data[at : at + n] for name, (at, n) in spans.items()}
    parts["plan"] = bytes(i * i * 7 >> 3 & 255 for i in range(size - len(data) + len(parts["plan"])))
    phases = numbers[len(HEADER) + 3 * len(SECTIONS) :]
    return emit.assemble(
        dict(zip(HEADER, numbers)), parts, {name: phases[2 * i : 2 * i + 2] for i, name in enumerate(PHASES)}
    )


class Stop(Exception):
    pass


@pytest.mark.pico
@pytest.mark.slow
def test_a_large_package_is_sent_resumed_and_checked(tmp_path):
    provide("pico")
    package = tmp_path / "big.ttp"
    package.write_bytes(padded(tiny(), SIZE))
    assert package.stat().st_size >= SIZE
    with Pico(files=library_files("armv6m")) as pico:
        seen = []

        def until(share):
            def progress(done, total):
                seen.append(done)
                if done >= share * total:
                    raise Stop

            return progress

        for share in (0.3, 0.7):
            with pytest.raises(Stop):
                deploy.deploy(pico.url, package, until(share))
            pico.reset()  # what was flushed is there
        assert max(seen) < 0.8 * SIZE
        rest = []
        report = deploy.deploy(pico.url, package, lambda done, total: rest.append((done, total)))
        assert rest[0][0] > 0.3 * SIZE  # only the rest is sent
        assert rest[-1] == (package.stat().st_size, package.stat().st_size)
        assert [done for done, _ in rest] == sorted(done for done, _ in rest)
        assert report["copied"] == ["/big.ttp"]
        code = (
            "import os, trimtab; print(trimtab.load('big.ttp').self_test(), 'big.ttp.part' in os.listdir())"
        )
        assert mpremote(pico.url, "exec", code).strip() == "True False"
        assert deploy.deploy(pico.url, package)["copied"] == []
