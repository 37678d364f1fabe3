"""Show what would be trained and what it costs: layers, bytes, products, and what more RAM buys.

Nothing is written. With --ram, the plan is the fastest in that RAM; else the one that needs least.

For example:

    trimtab plan person.tflite --policy sparse --scheme mcunet-49kb
    trimtab plan person.tflite --policy bias --ram 200k
"""

from argparse import ArgumentParser, Namespace

from . import options
from .shared import compiled, say


def grammar(p: ArgumentParser) -> None:
    options.model(p)
    options.plan(p)


def run(args: Namespace) -> None:
    from ..compiler import facts

    made = compiled(args, curve=True)
    text = "" if args.json else f"{facts.table(made)}\n{facts.ram_table(made)}"
    say(args, {**facts.summary(made), "ram": facts.ram(made)}, text)
