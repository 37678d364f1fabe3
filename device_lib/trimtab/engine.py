"""A package in memory, and the loop that runs its records. What Net offers to a user stands on this.

The names here are public to the library's other files, to the host tools and to tests; users need none of
them. All memory is allocated when a package is loaded: a training step allocates nothing.
"""

import gc
import struct
import sys
from array import array

from .crc import crc32
from .format import OFFSET_MASK, PHASES, RECORDS, SPACE_SHIFT


def _nothing(*_):
    pass


try:
    import micropython
    from micropython import heap_lock, heap_unlock

    kbd_intr = getattr(micropython, "kbd_intr", _nothing)
except ImportError:  # CPython, CircuitPython
    heap_lock = heap_unlock = kbd_intr = _nothing

# The order in which the records of all phases are held. It makes prediction one run of records from `prefix`
# to `forward`, and a training step one run from `prefix` (or, from a latent, `forward`) to `end` or `fold`.
# Phases that are not named here follow.
LINE = ("map", "prefix", "forward", "begin", "loss", "gate", "head", "backward", "end", "fold")
LINE += tuple([name for name in PHASES if name not in LINE])

RESERVE = 24 * 1024  # bytes of heap that frozen weights leave to Python
CASTS = hasattr(memoryview, "cast")  # MicroPython's memoryview has no cast and does not mind the sign
TORN = "a step was stopped half way: load the package again, or forget all training with reset()"
PROCESSES = ("linux", "darwin", "win32")  # platforms on which Ctrl-C is a signal


class Engine:
    """One package's memory and records, and the run of them that is a training step."""

    def __init__(self, package, tier, cores=2):
        self.package = package
        self.kernels = tier.name
        arena = allocate(tier, package.arena_bytes, "arena")
        state = allocate(tier, package.state_bytes, "state")
        self.arena, self.state = bytes_view(arena), bytes_view(state)
        const, program = package.place("const"), package.place("program")
        phases = package.records(program, const)
        phases = [phases[PHASES.index(name)] for name in LINE]
        tidy()
        adapts = package.bytes_of("choice")
        if adapts:
            from .tinytrain import Choice, with_room

            program = with_room(package, program)
        functions = {code: tier.function(RECORDS[code][0]) for codes, _ in phases for code in codes}
        weights = weights_in_memory(package)
        if weights is None:
            from .weights import stream

            program = bytearray(program)
            weights, self.functions = stream(package, program, phases, functions, tier.alloc)
            self._run = self._one
        else:
            self.functions = [functions[code] for codes, _ in phases for code in codes]
            # A choice puts others in the place of its kernels.
            self._run = self._one if adapts or not tier.run else tier.run
        self.cores, self.alone = 1, ""  # how many cores work, and why not more
        if tier.share and cores > 1:
            self.alone = tier.share(scratch_bytes(phases, program))
            self.cores = 1 if self.alone else 2
        self.mem = tier.bind(arena, state, const, program, weights)
        self.offsets = array("i")  # of each record; its kernel has the same index in `functions`
        self.phases = {}  # name -> (index of its first record, index after its last)
        for name, (_, offsets) in zip(LINE, phases):
            start = len(self.offsets)
            self.offsets.extend(array("i", offsets))
            self.phases[name] = (start, len(self.offsets))
        # Behind these records the parts of a step end: the last one with `fold` where sums move weights.
        ends = [self.phases[name][1] for name in ("loss", "gate", "head", "backward", "end", "fold")]
        cells = [
            array("i", (0,)) for _ in range(3)
        ]  # of loss, gate, and all else: what the last kernel returned
        self._cell = cells[2]
        self._plan = (self._run, self.offsets) + tuple(cells + ends)
        self._accumulate = package.accumulate if package.loss_kind else 0  # 0: nothing trains
        # Plain kernels allocate, so the heap stays open for them, and Ctrl-C may stop one half way.
        # MicroPython delivers Ctrl-C where Python code jumps, so never inside a native kernel.
        plain = tier.name == "plain"
        self._lock, self._unlock = (_nothing, _nothing) if plain else (heap_lock, heap_unlock)
        self._atomic = not plain and sys.platform not in PROCESSES
        self._torn = None  # why the state is no longer whole
        self.segments = [self.state[at : at + n] for at, n in package.segments()]
        self.state_bytes = sum([len(view) for view in self.segments])
        self.choice = None  # what a board chose to train, where the package leaves that to the board
        if adapts:
            self.choice = Choice(
                self, program, const, lambda: tier.bind(arena, state, const, program, weights)
            )

    # -- memory

    def span(self, ref, size):
        """The bytes that a reference into the arena or the state names."""
        space, at = self.state if ref >> SPACE_SHIFT else self.arena, ref & OFFSET_MASK
        return space[at : at + size]

    def reset(self):
        """The state as the package brings it: forget all training."""
        self.package.section("state", self.state)
        self._torn = None
        self.follow()

    def follow(self):
        """Bring up to date what hangs on the state; call it when other bytes were put there."""
        self._count()
        if self.choice:
            self.choice.apply()

    def require_whole(self):
        """Raise where a step was stopped half way."""
        if self._torn:
            raise ValueError(self._torn)

    def state_crc(self):
        """CRC32 of the trained state, equal on every board that trained alike."""
        crc = 0
        for view in self.segments:
            crc = crc32(view, crc)
        return crc

    def read_state(self, offset, into):
        """Fill `into` with the state as a save writes it, from `offset`; returns how many bytes came."""
        done = 0
        for view in self.segments:
            if offset < len(view):
                n = min(len(view) - offset, len(into) - done)
                into[done : done + n] = view[offset : offset + n]
                done += n
                offset += n
                if done == len(into):
                    break
            offset -= len(view)
        return done

    # -- the clock

    @property
    def step(self):
        """How many steps the state was trained."""
        return struct.unpack_from("<I", self.clock)[0]

    @property
    def total(self):
        """The steps of the schedule, 0 if there is none."""
        return struct.unpack_from("<I", self.clock, 4)[0]

    @total.setter
    def total(self, steps):
        struct.pack_into("<I", self.clock, 4, steps)

    @property
    def clock(self):
        """The part of the state that holds step and total."""
        return self.span(self.package.clock, 8)

    def set_clock(self, step, total):
        struct.pack_into("<II", self.clock, 0, step, total)
        self._count()

    def _count(self):
        """Samples summed since the last update. Steps count them, because reading the clock allocates."""
        self._summed = self.step % self.package.accumulate

    # -- records

    def run_phase(self, first, last=None):
        """The records of a phase, or of all phases from one to another; returns the last kernel's value."""
        return self.run_records(self.phases[first][0], self.phases[last or first][1])

    def run_records(self, i, stop):
        """Records i to stop; returns the last kernel's value. So few locals need no memory of the heap."""
        value = self._cell
        value[0] = 0
        while i < stop:
            i = self._run(self.mem, self.offsets, i, stop, value)
        return value[0]

    def _one(self, mem, offsets, i, stop, value):
        """What Tier.run does, for one record."""
        value[0] = self.functions[i](mem, offsets[i])
        return i + 1

    def run_step(self, phase):
        """A training step from `prefix` or `forward` on, wholly or not at all; returns the loss.

        Ctrl-C waits until the step is done. MicroPython raises it where code jumps, so never between a kernel
        and the line that counts it: after Ctrl-C the loop goes on at record i.
        """
        if not self._accumulate:
            raise ValueError("this package was compiled without a training plan: compile it with --policy")
        if self._torn:
            self.require_whole()
        i, mem, summed = self.phases[phase][0], self.mem, self._summed + 1
        run, offsets, loss, alive, rest, loss_end, gate_end, head_end, backward_end, end, fold_end = (
            self._plan
        )
        if summed == self._accumulate:
            summed, end = 0, fold_end
        loss[0] = alive[0] = done = 0
        stopped = None
        while not done:
            self._lock()
            try:
                while i < loss_end:
                    i = run(mem, offsets, i, loss_end, loss)
                while i < gate_end:
                    i = run(mem, offsets, i, gate_end, alive)
                if not alive[0]:
                    while i < head_end:
                        i = run(mem, offsets, i, head_end, rest)
                    if i < backward_end:
                        i = backward_end
                while i < end:
                    i = run(mem, offsets, i, end, rest)
                self._summed = summed
                done = 1
            except ValueError:  # of the C kernels; it has no text, because the heap is locked
                self._torn = "these kernels are for another package: run `trimtab deploy` with this one"
                break
            except KeyboardInterrupt as error:
                kbd_intr(-1)
                stopped = error
                if not self._atomic:
                    self._torn = TORN
                    break
            finally:
                self._unlock()
        if stopped:
            kbd_intr(3)
            raise stopped
        if not done:
            self.require_whole()
        return loss[0]


def scratch_bytes(phases, program):
    """The most scratch memory that a record has."""
    most = 0
    for codes, offsets in phases:
        for code, at in zip(codes, offsets):
            words = RECORDS[code][1].split()
            if words[-1] == "words":
                most = max(most, struct.unpack_from("<i", program, at + 4 * len(words))[0])
    return 4 * most


def tidy():
    """On a board, collect: an allocation that stays must not lie in the middle of garbage.

    A PC does so by itself, and beside TensorFlow each call would cost a third of a second.
    """
    if hasattr(gc, "mem_free"):
        gc.collect()


def allocate(tier, size, what):
    tidy()
    try:
        return tier.alloc(size)
    except MemoryError:
        free = gc.mem_free() if hasattr(gc, "mem_free") else 0
        raise MemoryError(
            "package needs %d bytes of %s, %d are free: compile it again with a smaller --ram"
            % (size, what, free)
        )


def weights_in_memory(package):
    """The frozen weights where they lie, or in RAM if that leaves RESERVE bytes; None: stream them."""
    if package.is_file and hasattr(gc, "mem_free"):
        gc.collect()
        if gc.mem_free() < package.bytes_of("weights") + RESERVE:
            return None
    try:
        return package.place("weights", wide=False)
    except MemoryError:  # there is room, but not in one piece
        return None


def bytes_view(buffer):
    """Any buffer as a view of unsigned bytes."""
    view = memoryview(buffer)
    return view.cast("B") if CASTS else view
