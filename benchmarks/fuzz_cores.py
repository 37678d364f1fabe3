"""Random records on one core and on two, with every model of memory: their results must be equal.

    python benchmarks/fuzz_cores.py 400

The number is that of the records of each kernel that cores share. Prints each difference, and a last line.
"""

import argparse
import re

import paths  # noqa: F401
from kernel_cases import Case, run_c
from trimtab_tools.boards import bare
from trimtab_tools.toolchain.boards import provide
from trimtab_tools.toolchain.sources import FIRMWARE

SHARED = re.findall(r"IS\((\w+)\)\s*\?\s*share_", (FIRMWARE / "kernels" / "shares.c").read_text())
CHIPS = [
    bare.Chip(cores=2, scratch=scratch, banks=banks, flash_cache=miss)
    for scratch, banks, miss in ((16384, True, 0), (2048, True, 56), (600, False, 0))
]
AT_ONCE = 200


def wrong(cases, chip):
    """The cases whose result on a chip is not this machine's."""
    runs = [(case.name, [*case.spaces, case.program]) for case in cases]
    for case, done in zip(cases, bare.run(runs, ("-DLEAST=1",), chip=chip)):
        if (done.values[0], case.result(done.arena, done.state)) != run_c(case):
            yield case


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("records", type=int)
    count = parser.parse_args().records
    provide("pico")
    done = bad = 0
    for start in range(0, count, AT_ONCE):
        seeds = range(start, min(start + AT_ONCE, count))
        for name in SHARED:
            cases = [Case(name, 9000 + seed, channels=(6, 24, 40)[seed % 3]) for seed in seeds]
            for chip in CHIPS:
                for case in wrong(cases, chip):
                    bad += 1
                    print(chip, name, case.numbers)
            done += len(cases) * len(CHIPS)
    print(f"{done} records on two cores, {bad} of them wrong")
    raise SystemExit(bad > 0)


if __name__ == "__main__":
    main()
