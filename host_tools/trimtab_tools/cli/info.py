"""Show what a package holds: its name, labels, memory, and what it was compiled with.

For example:

    trimtab info person.ttp
    trimtab info person.ttp --json
"""

from argparse import ArgumentParser, Namespace

from .shared import say

LONG = ("graph", "activations", "trained", "memory")  # notes for other readers


def grammar(p: ArgumentParser) -> None:
    p.add_argument("package")


def run(args: Namespace) -> None:
    from ..compiler.package_reading import Contents

    c = Contents(args.package)
    memory = c.notes["memory"]
    notes = {key: note for key, note in c.notes.items() if key not in LONG}
    text = (
        f"{c.name}: labels {', '.join(c.labels) or '(none)'}; arena {memory['arena_bytes']}, "
        f"state {memory['state_bytes']}"
    )
    say(args, {"name": c.name, "labels": c.labels, **memory, "notes": notes}, text)
