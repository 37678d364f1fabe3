"""Lifetimes: from a program's time line to what the memory planner needs."""

from trimtab.format import ARENA, PHASES

from .memory import Life, place


def lives(program, keep_all=False):
    """One Life for each arena buffer. The sample and target are there before the first step."""
    found = {}
    boundaries = {}
    now = 0
    for phase in PHASES:
        boundaries[phase] = now
        for step in program.phases[phase]:
            for buffer in step.buffers(True) + step.buffers(False):
                if buffer.space == ARENA:
                    life = found.setdefault(id(buffer), Life(buffer, buffer.size, now, now))
                    life.stop = now
            now += 1
    for buffer in (program.input, program.target):
        if buffer is not None:
            life = found.setdefault(id(buffer), Life(buffer, buffer.size, 0, 0))
            life.start = 0
    output = found.setdefault(id(program.output), Life(program.output, program.output.size, 0, 0))
    output.stop = max(output.stop, boundaries["loss"])  # read by Python after the forward pass
    if keep_all:
        for life in found.values():
            life.start, life.stop = 0, now
    return list(found.values())


def assign(program, keep_all=False):
    """Offsets for every buffer of the program: arena by lifetimes, state and constants one after another."""
    placement = place(lives(program, keep_all))
    _line_up(program.state)
    _line_up(program.constants())
    return placement


def _line_up(buffers):
    at = 0
    for buffer in buffers:
        buffer.offset = at
        at += -(-buffer.size // 4) * 4


def end(buffers):
    return max((b.offset + -(-b.size // 4) * 4 for b in buffers), default=0)
