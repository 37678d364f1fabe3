"""`python -m trimtab_tools.toolchain BOARD` builds what a board needs and prints where it lies.

`python -m trimtab_tools.toolchain natmod ARCH` builds the native module of one architecture.
`python -m trimtab_tools.toolchain webassembly` builds the kernels for PCs without a compiler.
"""

import json
import sys

from ..errors import ToolchainError
from . import boards, kernels, webassembly


def main(words: list[str]) -> int:
    try:
        if words[:1] == ["natmod"] and len(words) == 2:
            print(kernels.natmod(words[1]))
        elif words == ["webassembly"]:
            print(json.dumps({name: str(webassembly.module(name)) for name in webassembly.BUILDS}, indent=1))
        elif len(words) == 1:
            print(json.dumps(boards.build(words[0]), indent=1))
        else:
            raise ToolchainError(
                f"name a board, {', '.join(boards.BOARDS)}, webassembly, or natmod and an architecture"
            )
    except ToolchainError as error:
        print(f"toolchain: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
