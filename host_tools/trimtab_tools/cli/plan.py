"""Show what would be trained and what it costs: layers, bytes, products. Nothing is written.

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

    made = compiled(args)
    say(args, facts.summary(made), "" if args.json else facts.table(made))
