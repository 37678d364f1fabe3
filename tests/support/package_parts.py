"""Packages taken apart and put together again with one thing changed: every checksum is right."""

import struct

from trimtab.format import HEADER, PHASES, RECORDS, SECTIONS, fields
from trimtab_tools.compiler import emit


def sections(data):
    """{name: (offset, size)}"""
    words = struct.unpack_from(f"<{3 * len(SECTIONS)}I", data, 8 + 4 * len(HEADER))
    return {name: words[3 * i : 3 * i + 2] for i, name in enumerate(SECTIONS)}


def take_apart(data):
    """(header words, sections, phases) as the emitter takes them."""
    words = struct.unpack_from(f"<{len(HEADER) + 3 * len(SECTIONS) + 2 * len(PHASES)}I", data, 8)
    phases = words[len(HEADER) + 3 * len(SECTIONS) :]
    return (
        dict(zip(HEADER, words)),
        {name: data[o : o + n] for name, (o, n) in sections(data).items()},
        {name: phases[2 * i : 2 * i + 2] for i, name in enumerate(PHASES)},
    )


def records(data):
    """[(offset in the section, kernel, [(field, kind, offset of its word, value)])]"""
    _, parts, phases = take_apart(data)
    found = []
    for at, count in phases.values():
        for _ in range(count):
            name, specs = RECORDS[struct.unpack_from("<i", parts["program"], at)[0]][:2]
            specs = fields(specs)
            words = struct.unpack_from(f"<{len(specs)}i", parts["program"], at + 4)
            found.append(
                (at, name, [(s[0], s[1], at + 4 + 4 * i, v) for i, (s, v) in enumerate(zip(specs, words))])
            )
            at += 4 + 4 * len(specs)
    return found


def with_word(data, at, value):
    """The package with one word of its program exchanged."""
    header, parts, phases = take_apart(data)
    program = bytearray(parts["program"])
    struct.pack_into("<I", program, at, value & 0xFFFFFFFF)
    return emit.assemble(header, {**parts, "program": bytes(program)}, phases)


def with_header(data, **words):
    header, parts, phases = take_apart(data)
    return emit.assemble({**header, **words}, parts, phases)


def with_section(data, name, content):
    header, parts, phases = take_apart(data)
    return emit.assemble(header, {**parts, name: content}, phases)


def word(data, kernel, field):
    return next(
        (at, value)
        for _, name, row in records(data)
        if name == kernel
        for f, _, at, value in row
        if f == field
    )
