"""Talking to a board that runs."""

from trimtab_tools.link.repl import mpremote


def tell(board, code):
    """What code prints on a board."""
    return mpremote(board.url, "exec", code).strip()
