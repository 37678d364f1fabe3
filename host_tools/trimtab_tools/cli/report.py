"""Write one page that shows memory over time, layers and costs, of a package or of a model with a plan.

For example:

    trimtab report person.ttp -o person.html
    trimtab train person.ttp --data photos --json > log.json
    trimtab report person.ttp --log log.json -o person.html
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from .. import output
from ..errors import UsageError
from . import options
from .shared import compiled, say


def grammar(p: ArgumentParser) -> None:
    options.model(p, "a package (.ttp), or a model: ")
    options.plan(p)
    p.add_argument("-o", "--output", required=True, help="the page, .html")
    p.add_argument("--log", help="what trimtab train --json printed, for the curves")


def run(args: Namespace) -> None:
    from ..compiler import facts
    from ..report import page

    name, found, plan, size = _of_package(args.model) if args.model.endswith(".ttp") else _of_model(args)
    log = facts.read_log(args.log) if args.log else ()
    output.write(args.output, page.page(name, found, plan, size, log))
    say(args, {"page": args.output, "buffers": len(found["buffers"])}, f"{args.output}: open it in a browser")


def _of_package(path):
    from ..compiler import facts
    from ..compiler.package_reading import Contents, records

    c = Contents(path)
    if "report" not in c.notes:
        raise UsageError(f"{path} has no facts for a report: compile it with a --policy")
    plan = {key: c.notes[key] for key in ("policy", "loss", "rate")}
    found = facts.timed(c.notes["report"], records(c.package))
    return c.name, found, {**plan, "labels": c.labels}, Path(path).stat().st_size


def _of_model(args):
    from ..compiler import facts

    made = compiled(args)
    plan = {key: getattr(made.plan, key) for key in ("policy", "loss", "rate", "labels")}
    found = facts.facts(made.trunk, made.plan, made.program, made.placement)
    found = facts.timed(found, (record.values for _, record in made.program.timeline()))
    return Path(args.model).stem, found, plan, len(made.data)
