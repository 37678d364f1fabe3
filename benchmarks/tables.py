"""Tables of docs/results.md, which stand between comments that name them and are drawn from the results."""

import re
from collections.abc import Iterable, Sequence


def markdown(rows: Iterable[Sequence]) -> str:
    """A table; its first row is the head."""
    head, *body = [[str(cell) for cell in row] for row in rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *body))


def redrawn(text: str, tables: dict[str, Iterable[Sequence]]) -> str:
    """The page with these tables drawn anew."""
    for name, rows in tables.items():
        made = f"<!-- {name} -->\n{markdown(rows)}\n<!-- end -->"
        text = re.sub(f"<!-- {name} -->.*?<!-- end -->", lambda _, made=made: made, text, flags=re.S)
    return text
