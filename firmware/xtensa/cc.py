"""A C compiler for the ESP32's cores made of LLVM's parts, as far as MicroPython's mpy_ld.py needs one.

    python cc.py LLVM_ROOT [options of gcc] -c in.c -o out.o

clang has no driver for this processor and writes objects that no linker takes, so C goes through clang
to LLVM's own language, through llc to assembly, and through llvm-mc to an object; the last two results
need mending.
"""

import re
import struct
import subprocess
import sys
from pathlib import Path

HEADERS = "/usr/lib/xtensa-lx106-elf/include"  # picolibc's, for a processor of the same family
IGNORED = {"-c", "-fpic", "-mlongcalls", "-mtext-section-literals", "-Os", "-O2"}
CLANG = [
    "--target=xtensa",
    "-nostdinc",
    "-isystem",
    HEADERS,
    "-D__XTENSA__",
    "-Os",
    "-ffreestanding",
    "-fno-builtin",
    "-fno-jump-tables",
]
QUIET = ["-Wno-unused-command-line-argument", "-Wno-unknown-attributes", "-Wno-unknown-pragmas"]
CPU = ["-mtriple=xtensa", "-mcpu=esp32"]

R_XTENSA_32, R_XTENSA_SLOT0_OP = 1, 20
SHT_RELA, STT_SECTION = 4, 3


def llvm(root, tool, *args):
    """Run a tool with the C library that lies beside it: the system's may be older."""
    system = root / "usr/lib/x86_64-linux-gnu"
    binary = root / "usr/lib/llvm-22/bin" / tool
    path = f"{system}:{root / 'usr/lib/llvm-22/lib'}"
    command = [system / "ld-linux-x86-64.so.2", "--library-path", path, "--argv0", binary, binary, *args]
    subprocess.run([str(word) for word in command], check=True)


def mend_assembly(text):
    """Literals must lie at multiples of 4. Constants that hold addresses go where the linker moves them."""
    text = text.replace("\t.literal_position", "\t.p2align\t2\n\t.literal_position")
    return re.sub(r"\t\.type\t([^,\n]+),@object.*\n(?:.*\n)*?\t\.size\t\1,.*\n", _movable, text)


def _movable(match):
    block = match[0]
    section = re.search(r"\t\.section\t\.rodata.*\n", block)
    if not re.search(r"\t\.long\t[A-Za-z_.$]", block):
        return block
    if section:
        block = block.replace(section[0], "")
    return '\t.section\t.data.rel.ro,"aw",@progbits\n' + block + '\t.section\t.rodata,"a",@progbits\n'


def sections(data):
    """(type, offset, size, link, info) of each section of an ELF file of 32 bits."""
    (start,) = struct.unpack_from("<I", data, 32)
    size, count = struct.unpack_from("<HH", data, 46)
    rows = [struct.unpack_from("<10I", data, start + i * size) for i in range(count)]
    return [(row[1], row[4], row[5], row[6], row[7]) for row in rows]


def mend_object(data):
    """The linker adds addresses to what it finds: loads of literals must hold 0, pointers their addend."""
    table = sections(data)
    for kind, offset, size, link, info in table:
        if kind != SHT_RELA:
            continue
        target, symbols = table[info][1], table[link][1]
        for at in range(offset, offset + size, 12):
            where, what, addend = struct.unpack_from("<IIi", data, at)
            where += target
            symbol_type = data[symbols + 16 * (what >> 8) + 12] & 15
            if what & 255 == R_XTENSA_SLOT0_OP and data[where] & 15 == 1:  # l32r
                data[where + 1 : where + 3] = bytes(2)
            elif what & 255 == R_XTENSA_32 and symbol_type == STT_SECTION:
                struct.pack_into("<i", data, where, addend)
                struct.pack_into("<i", data, at + 8, 0)
    return data


def compile_c(root, options, source, target):
    stem = target.with_suffix("")
    ir, assembly = stem.with_suffix(".ll"), stem.with_suffix(".s")
    builtin = root / "usr/lib/clang/22/include"
    llvm(root, "clang", "-isystem", builtin, *CLANG, *options, *QUIET, "-S", "-emit-llvm", source, "-o", ir)
    llvm(root, "llc", *CPU, "-O2", ir, "-o", assembly)
    assembly.write_text(mend_assembly(assembly.read_text()))
    llvm(root, "llvm-mc", "-triple=xtensa", *CPU[1:], "-filetype=obj", assembly, "-o", target)
    target.write_bytes(mend_object(bytearray(target.read_bytes())))


def main(root, *words):
    words = list(words)
    at = words.index("-o")
    target = Path(words[at + 1])
    del words[at : at + 2]
    (source,) = [word for word in words if word.endswith((".c", ".s"))]
    ignored = IGNORED | {source}
    options = [word for word in words if word not in ignored and not word.startswith("-std=")]
    if source.endswith(".s"):
        llvm(Path(root), "llvm-mc", "-triple=xtensa", *CPU[1:], "-filetype=obj", source, "-o", target)
    else:
        compile_c(Path(root), ["-std=c99", *options], source, target)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode or 1)
