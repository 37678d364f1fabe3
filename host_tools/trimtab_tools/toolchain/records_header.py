"""Writes firmware/kernels/records.h, the records of format.py as C structs.

python -m trimtab_tools.toolchain.records_header
"""

from collections.abc import Sequence
from pathlib import Path

from trimtab import format

PATH = Path(__file__).resolve().parents[3] / "firmware" / "kernels" / "records.h"  # of a checkout
# Prefix of a kernel's name -> the file of that method, which may be deleted. All other kernels are the core.
METHODS = {
    "tinytl": "tinytl.c",
    "mobiletl": "mobiletl.c",
    "tinytrain": "tinytrain.c",
    "prototype": "prototypes.c",
}
_ELEMENTS = {"b": "int8", "h": "int16", "i": "int32", "m": "bits", "r": "residuals", "x": "uint16"}
_GROUPS = {name: format.fields(text) for name, text in format.GROUPS.items()}


def text() -> str:
    """The content of records.h."""
    opcodes = ",\n".join("    TRIMTAB_OP_%s" % row[0] for row in format.RECORDS)
    groups = [_struct(name, members) for name, members in _GROUPS.items()]
    records = [_struct(row[0], _grouped(format.fields(row[1])), opcode=True) for row in format.RECORDS]
    prototypes = ["int32_t trimtab_%s(uint8_t *const *mem, uint32_t off);" % row[0] for row in format.RECORDS]
    structs = "\n".join(groups + records)
    return _FRAME % (format.ABI, format.SPACE_SHIFT, opcodes, structs, "\n".join(prototypes), _lists())


_FRAME = """\
// The records of format.py as C, written by `python -m trimtab_tools.toolchain.records_header`.
#ifndef TRIMTAB_RECORDS_H
#define TRIMTAB_RECORDS_H

#include <stdint.h>

#define TRIMTAB_ABI %d
#define TRIMTAB_SPACE_SHIFT %d

enum trimtab_space { TRIMTAB_ARENA, TRIMTAB_STATE, TRIMTAB_CONST, TRIMTAB_PROGRAM, TRIMTAB_WEIGHTS };

enum trimtab_opcode {
%s
};

%s
%s

// What a module has: all kernels, or those that one package calls. A method whose file is absent has none.
%s#endif
"""


def family(kernel: str) -> str:
    """The method of a kernel, or "core"."""
    prefix = kernel.split("_")[0]
    return prefix if prefix in METHODS else "core"


def _lists():
    """One list of kernels for each family, and all of them as one, in the order of their opcodes.

    What the core got after the methods stands in a list of its own, the last one.
    """
    lists = {name: [] for name in ("core", *METHODS, "later")}
    for name, *_ in format.RECORDS:
        of = family(name)
        later = of == "core" and any(lists[method] for method in METHODS)
        lists["later" if later else of].append("X(%s)" % name)
    families = [_family_list(name, rows) for name, rows in lists.items()]
    return "".join(families) + _macro("", ["%s(X)" % _list_name(name) for name in lists])


def _family_list(name, rows):
    if name not in METHODS:
        return _macro(name, rows)
    return '#if __has_include("%s")\n%s#else\n%s\n#endif\n\n' % (
        METHODS[name],
        _macro(name, rows),
        _macro(name),
    )


def _macro(family, rows=()):
    """Every row ends in a backslash and an empty line follows, so subset.py can remove any of them."""
    return " \\\n    ".join(["#define %s(X)" % _list_name(family), *rows]) + (" \\\n\n" if rows else "")


def _list_name(family):
    return "TRIMTAB_%sKERNELS" % (family.upper() + "_" if family else "")


def _grouped(members):
    """The members; where all fields of a group follow one another, (group, None) stands in their place."""
    grouped = []
    while members:
        run = next((g for g in _GROUPS if _names(members[: len(_GROUPS[g])]) == _names(_GROUPS[g])), None)
        grouped.append((run, None) if run else members[0])
        members = members[len(_GROUPS[run]) if run else 1 :]
    return grouped


def paths(members: Sequence[tuple]) -> list[str]:
    """How C names each word of a record, whose members are those of format.fields(): geometry.ih, nk, ..."""
    return [
        group + name
        for member in _grouped(members)
        for group, name in (
            [(member[0] + ".", name) for name in _names(_GROUPS[member[0]])]
            if member[1:] == (None,)
            else [("", member[0])]
        )
    ]


def _names(members):
    return [member[0] for member in members]


def _struct(name, members, opcode=False):
    """A group has no opcode. Its comments leave the shapes out, which differ from record to record."""
    lines = ["    int32_t opcode;"] if opcode else []
    for member in members:
        if member[1:] == (None,):
            lines.append("    struct trimtab_%s %s;" % (member[0], member[0]))
        else:
            lines.append("    int32_t %s;%s" % (member[0], _comment(member, opcode)))
    return "struct trimtab_%s {\n%s\n};\n" % (name, "\n".join(lines))


def _comment(member, shaped):
    _, kind, extent, bound = member
    if kind is None:
        return ""
    notes = [_ELEMENTS[kind[-1]] + (" (%s)" % ", ".join(extent) if shaped else "")]
    notes += ["below %s" % bound] if bound and shaped else []
    notes += ["written"] if "!" in kind else []
    notes += ["or NULL"] if "?" in kind else []
    return " // " + ", ".join(notes)


if __name__ == "__main__":
    PATH.write_text(text())
