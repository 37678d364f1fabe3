"""Lays out a linked native module as MicroPython's loader would, for a program that has no MicroPython.

python load.py _kernels.mpy OUT       # OUT/module.s, OUT/text.bin, OUT/rodata.bin, OUT/module.ld
"""

import struct
import sys
from pathlib import Path

XTENSAWIN = 10
VIPER = 2  # kind of code; a native module is one such function
RODATA, BSS, RELOCATIONS = 0x20, 0x40, 0x10  # scope flags
# Where things lie: text, rodata, bss, qstr table, object table, function table.
ADDRESSES = TEXT, CONSTANTS, ZEROS, QSTRS, OBJECTS, FUNCTIONS = range(0x500000, 0x560000, 0x10000)


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def byte(self):
        self.at += 1
        return self.data[self.at - 1]

    def bytes(self, n):
        self.at += n
        return bytearray(self.data[self.at - n : self.at])

    def number(self):
        """7 bits a byte, most significant first, all but the last marked."""
        value = 0
        while True:
            byte = self.byte()
            value = value << 7 | byte & 127
            if byte < 128:
                return value


def read(data):
    """(text, rodata, relocations as (in rodata, offset, what it becomes relative to))"""
    r = Reader(data)
    magic, version, features, _ = r.bytes(4)
    if (magic, version, features >> 2) != (ord("M"), 6, XTENSAWIN):
        raise ValueError("this is not a module for xtensawin: build one with natmod xtensawin")
    qstrs, objects = r.number(), r.number()
    for _ in range(qstrs):
        length = r.number()
        if not length & 1:  # else one that MicroPython has itself
            r.bytes((length >> 1) + 1)
    kind = r.number()
    if objects or kind & 7 != VIPER:
        raise ValueError("the module holds more than one native function: link it alone")
    text, rodata = r.bytes(kind >> 3), bytearray()
    flags = r.number()
    if flags & RODATA:
        rodata = bytearray(r.number())
    if flags & BSS:
        raise ValueError("the module has variables: kernels have none")
    if rodata:
        rodata = r.bytes(len(rodata))
    return text, rodata, list(relocations(r)) if flags & RELOCATIONS else []


def relocations(r):
    """(in rodata, offset, address to add); runs of them share one entry."""
    in_rodata, at = False, 0
    while True:
        op = r.byte()
        if op == 0xFF:
            return
        if op & 1:
            place = r.number()
            in_rodata, at = bool(place & 1), (place >> 1) * 4
        op >>= 1
        run = r.number() if op <= 5 and op & 1 else 1
        for _ in range(run):
            yield in_rodata, at, address(op)
            at += 4


def address(op):
    if op <= 5:
        return (TEXT, CONSTANTS, ZEROS)[op >> 1]
    if op <= 8:
        return (QSTRS, OBJECTS, FUNCTIONS)[op - 6]
    return 0  # an entry of the function table by value: the type of builtin functions


def layout(data, out):
    text, rodata, fixes = read(data)
    for in_rodata, at, base in fixes:
        place = rodata if in_rodata else text
        (value,) = struct.unpack_from("<I", place, at)
        struct.pack_into("<I", place, at, (value + base) & 0xFFFFFFFF)
    (out / "text.bin").write_bytes(text)
    (out / "rodata.bin").write_bytes(rodata)
    (out / "module.s").write_text(
        f'\t.section .module,"ax",@progbits\n\t.incbin "{out}/text.bin"\n'
        f'\t.section .constants,"a",@progbits\n\t.incbin "{out}/rodata.bin"\n\t.zero 4\n'
        '\t.section .names,"aw",@progbits\n\t.zero 4096\n'
        f"\t.section .rodata\n\t.p2align 2\n\t.global module_entry\nmodule_entry:\t.long {TEXT}\n"
    )
    (out / "module.ld").write_text(
        "ENTRY(_start)\nSECTIONS {\n  . = 0x400000;\n  .text : { *(.literal*) *(.text*) }\n"
        "  . = ALIGN(4096);\n  .rodata : { *(.rodata*) *(.data.rel.ro*) }\n"
        f"  .module {TEXT} : {{ *(.module) }}\n  .constants {CONSTANTS} : {{ *(.constants) }}\n"
        f"  .names {QSTRS} : {{ *(.names) }}\n  .functions {FUNCTIONS} : {{ *(.functions) }}\n"
        "  . = ALIGN(4096);\n  .data : { *(.data*) }\n  .bss : { *(.bss*) *(COMMON) }\n}\n"
    )


if __name__ == "__main__":
    layout(Path(sys.argv[1]).read_bytes(), Path(sys.argv[2]))
