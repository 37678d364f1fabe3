"""The memory planner: whatever the lifetimes, no two buffers that live at once overlap."""

from helpers import compiled
from hypothesis import given, settings
from hypothesis import strategies as st
from operator_graphs import OPERATORS, around
from trimtab_tools.compiler.lifetimes import assign, lives
from trimtab_tools.compiler.memory import ALIGN, Life, Piece, lower_bound, overlap, place
from trimtab_tools.graph.program import Buffer


def life(size, start, stop, offset=0, pieces=()):
    return Life(Buffer(f"{size} bytes of {start} to {stop}", size), size, start, stop, offset, pieces)


@st.composite
def random_life(draw):
    """A buffer that lives as a whole, or in up to three runs of bytes with lives of their own."""
    cuts = sorted(draw(st.sets(st.integers(0, 300), min_size=2, max_size=4)))
    pieces = []
    for low, high in zip(cuts, cuts[1:]):
        start = draw(st.integers(0, 20))
        pieces.append(Piece(start, start + draw(st.integers(0, 12)), low, high))
    start, stop = min(p.start for p in pieces), max(p.stop for p in pieces)
    return life(
        cuts[-1], start, stop, draw(st.integers(0, 400)), tuple(pieces) if draw(st.booleans()) else ()
    )


def bytes_in_use(rows, ties=()):
    """The oracle: at each step a byte has one owner, or two that a kernel reads and writes in place."""
    tied = {frozenset(map(id, pair)) for pair in ties}
    owned = {}
    for r in rows:
        for p in r.pieces:
            for t in range(p.start, p.stop + 1):
                for byte in range(r.offset + p.low, r.offset + p.high):
                    other = owned.setdefault((t, byte), r)
                    in_place = frozenset((id(other.buffer), id(r.buffer))) in tied and t in (r.start, r.stop)
                    assert other is r or in_place, f"{other.buffer.name} and {r.buffer.name} own one byte"
    return max((byte + 1 for _, byte in owned), default=0)


@given(st.lists(random_life(), max_size=12))
@settings(max_examples=50, deadline=None)
def test_random_lives(rows):
    placement = place(rows)
    assert bytes_in_use(rows) <= placement.size
    assert all(r.offset % ALIGN == 0 and r.buffer.offset == r.offset for r in rows)
    assert overlap(rows) is None
    assert placement.lower_bound <= placement.size <= sum(r.size for r in rows)


@given(st.lists(random_life(), min_size=2, max_size=6))
@settings(max_examples=50, deadline=None)
def test_overlap_finds_what_the_oracle_finds(rows):
    try:
        bytes_in_use(rows)
        clash = False
    except AssertionError:
        clash = True
    assert (overlap(rows) is not None) == clash


def test_lives_that_touch_at_one_step_are_apart():
    first, then, later = rows = [life(100, 0, 3), life(100, 3, 5), life(100, 4, 6)]
    placement = place(rows)
    assert placement.size == placement.lower_bound == 200
    assert first.offset != then.offset and first.offset == later.offset


def test_tied_buffers_share_an_address():
    rows = [life(100, 0, 3), life(60, 3, 5), life(40, 3, 4)]
    ties = [(rows[0].buffer, rows[1].buffer)]
    placement = place(rows, ties)
    assert rows[0].offset == rows[1].offset
    assert bytes_in_use(rows, ties) <= placement.size == placement.lower_bound == 140


def test_rows_that_are_done_make_room():
    upper, lower = Piece(0, 2, 0, 100), Piece(0, 8, 100, 200)
    rows = [life(200, 0, 8, pieces=(upper, lower)), life(100, 3, 8)]
    assert place(rows).size == 200 and bytes_in_use(rows) == 200


def test_nothing_needs_no_memory():
    assert place([]).size == place([]).lower_bound == 0


def test_lower_bound_is_the_fullest_step():
    assert lower_bound([life(12, 0, 2), life(20, 2, 4), life(40, 4, 4), life(7, 9, 9)]) == 60


def test_a_network_is_packed():
    """Buffers share the arena, and what a step reads has been written since the step began."""
    c = compiled(around(OPERATORS["two_skips_and_a_branch"]))
    rows = lives(c.program)
    for r in rows:
        r.offset = r.buffer.offset
    assert bytes_in_use(rows, c.placement.ties) <= c.placement.size
    assert c.placement.lower_bound <= c.placement.size < 0.6 * assign(c.program, keep_all=True).size
    written = {id(c.program.input), id(c.program.target)}
    for _, step in c.program.timeline():
        for b in step.buffers(False):
            assert b.space or id(b) in written, (
                f"{step.kernel} of {step.layer} reads {b.name} before it is written"
            )
        written |= {id(b) for b in step.buffers(True)}
