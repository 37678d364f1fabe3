"""The command `trimtab`: a table of verbs. Each verb is the module of its name, imported when it is used.

A verb's module has grammar(parser), which adds its options, and run(args), which does the work and may return
an exit code. Its docstring is what `trimtab VERB --help` says.
"""

import argparse
import importlib
import sys

from trimtab import __version__
from trimtab.package import PackageError

from ..errors import TrimtabError

VERBS = {
    "compile": "make a package from a model",
    "plan": "show what would be trained and what it costs",
    "search": "find which layers to train under a budget",
    "choose": "let the samples of a task say which layers and channels to train",
    "rank": "find which of several packages learns a task best",
    "report": "write one page that shows memory over time, layers and costs",
    "verify": "compare our kernels with TensorFlow Lite's, bit for bit",
    "info": "show what a package holds",
    "export": "write every tensor of a package as .npz, or the model as .tflite or .keras",
    "simulate": "train some steps on an emulated board",
    "key": "make a key, put it on a board, sign packages",
    "flash": "put trimtab's firmware on a board",
    "deploy": "copy library, kernels and package to a board",
    "train": "send samples to a board that trains on them",
    "pull": "bring the tuned weights home as .tflite or .keras",
}


def main(argv: list[str] | None = None) -> int:
    """Run one verb. Errors are caught here only; they end in one sentence and exit code 1."""
    words = sys.argv[1:] if argv is None else list(argv)
    args = _parser(words[0] if words else None).parse_args(words)
    try:
        return _module(args.verb).run(args) or 0
    except KeyboardInterrupt as stop:
        return _end(str(stop) or "stopped", 130)
    except OSError as error:
        name = f"{error.filename}: " if error.filename else ""
        return _end(f"{name}{error.strerror or error}: check the name and the permissions", 1)
    except (TrimtabError, PackageError, MemoryError) as error:
        return _end(str(error), 1)


def _end(sentence: str, code: int) -> int:
    print(f"trimtab: {sentence}", file=sys.stderr)
    return code


def _parser(wanted: str | None) -> argparse.ArgumentParser:
    """The parser of all verbs. Only the wanted one has options: the modules of the others stay unread."""
    parser = argparse.ArgumentParser(
        prog="trimtab",
        description="Train neural networks on microcontrollers, from Python.",
        epilog="trimtab VERB --help tells what a verb takes, with examples.",
    )
    parser.add_argument("--version", action="version", version=f"trimtab {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb, sentence in VERBS.items():
        p = verbs.add_parser(verb, help=sentence, formatter_class=argparse.RawDescriptionHelpFormatter)
        if verb == wanted:
            module = _module(verb)
            p.description = module.__doc__
            module.grammar(p)
            p.add_argument("--json", action="store_true", help="print JSON for programs")
    return parser


def _module(verb: str):
    return importlib.import_module(f"{__name__}.{verb}")
