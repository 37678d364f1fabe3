"""MicroPython's unix port as a board."""

import pytest
from helpers import provide
from trimtab_tools.boards.unix import Unix
from trimtab_tools.errors import BoardError

NAME_TIER = "from trimtab import kernels; print(kernels.choose().name)"


@pytest.mark.unix
def test_unix_has_the_library_the_kernels_and_the_heap_asked_for():
    provide("unix")
    code = f"import gc; print(gc.mem_free() + gc.mem_alloc()); {NAME_TIER}"
    with Unix("-c", code, heap="192k") as board:
        heap, tier = board.output().split()
    assert 180_000 < int(heap) <= 192 * 1024 and tier == "c"
    with Unix("-c", NAME_TIER, kernels=False) as board:
        assert board.output().strip() == "viper"


@pytest.mark.unix
def test_unix_speaks_through_pipes_and_finds_its_files():
    provide("unix")
    code = "import sys; print(open('a/b').read(), sys.stdin.readline().strip())"
    with Unix("-c", code, files={"/a/b": b"hello"}) as board:
        board.stdin.write(b"there\n")
        assert board.output() == "hello there\n"


@pytest.mark.unix
def test_unix_error_is_told():
    provide("unix")
    with (
        Unix("-c", "raise SystemExit(7)") as board,
        pytest.raises(BoardError, match="status 7"),
    ):
        board.output()
