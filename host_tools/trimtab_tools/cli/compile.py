"""Make a package from a model: the network, what is trained, and where every byte lies.

The package needs as little RAM as possible. With --ram, its step is as fast as possible in that RAM.

For example:

    trimtab compile person.tflite --policy last --labels no,yes -o person.ttp
    trimtab compile digits.tflite --policy plan:plan.json --lr 0.01 -o digits.ttp
    trimtab compile net.keras --samples train.npz --policy bias --ram 96k -o net.ttp
"""

from argparse import ArgumentParser, Namespace

from .. import output
from . import options
from .shared import compiled, say


def grammar(p: ArgumentParser) -> None:
    options.model(p)
    options.plan(p)
    p.add_argument("-o", "--output", required=True, help="the package, .ttp")


def run(args: Namespace) -> None:
    from ..compiler import facts

    made = compiled(args)
    output.write(args.output, made.data)
    arena, state, bound = made.placement.size, made.program_state_bytes, made.placement.lower_bound
    memory = {
        "package": args.output,
        "bytes": len(made.data),
        "arena_bytes": arena,
        "state_bytes": state,
        "lower_bound_bytes": bound,
    }
    text = f"{args.output}: {len(made.data)} bytes, arena {arena}, state {state} (arena at least {bound})"
    if args.ram:
        memory["ram"] = facts.ram(made)
        text += f"\n{facts.more_ram(made)}"
    say(args, memory, text)
