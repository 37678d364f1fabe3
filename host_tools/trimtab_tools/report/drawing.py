"""Shared by the drawings of the page: scales, round numbers on axes, short sizes, a curve."""

import math
from collections.abc import Callable, Sequence


def scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    """The function that maps low..high to start..end of a drawing."""
    return lambda value: round(start + (value - low) * (end - start) / max(high - low, 1e-9), 1)


def ticks(top: float, count: int = 5) -> list[float]:
    """About `count` round numbers from 0 to top."""
    step = 10.0 ** math.floor(math.log10(max(top, 1e-6) / count))
    step *= next(m for m in (1, 2, 5, 10) if step * m * count >= top)
    return [round(i * step, 10) for i in range(int(top / step) + 1)]


def in_bytes(n: float) -> str:
    return f"{n / 1024:.1f} KB" if n >= 1024 else f"{n} B"


def in_short(n: float) -> str:
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if n >= size:
            return f"{n / size:.3g} {unit}"
    return str(n)


def chart(title: str, points: Sequence[tuple[float, float]], names: tuple[str, str] | None = None) -> str:
    """A curve through the points. `names` replace the epochs below its ends."""
    xs, top = [x for x, _ in points], max(v for _, v in points)
    marks = ticks(max(top, 1e-3))
    across = scale(min(xs), max(xs) if max(xs) > min(xs) else min(xs) + 1, 60, 520)
    up = scale(0, max(marks[-1], top), 190, 16)
    grid = "".join(
        f'<path class="grid" d="M50 {up(t)}H540"/><text x="42" y="{up(t) + 4}" text-anchor="end">{t:g}</text>'
        for t in marks
    )
    line = "M" + "L".join(f"{across(x)} {up(v)}" for x, v in points)
    dots = "".join(
        f'<circle class="dot" cx="{across(x)}" cy="{up(v)}" r="3"><title>{x}: {v:.4g}</title></circle>'
        for x, v in points
    )
    ends = names or (f"epoch {xs[0]}", f"epoch {xs[-1]}")
    foot = f'<text x="{across(min(xs))}" y="210">{ends[0]}</text>'
    if len(xs) > 1:
        foot += f'<text x="{across(max(xs))}" y="210" text-anchor="end">{ends[1]}</text>'
    return (
        f'<figure><figcaption>{title}</figcaption><div class="scroll">'
        f'<svg class="chart" viewBox="0 0 560 220" role="img" '
        f'aria-label="{title}">{grid}<path class="curve" d="{line}"/>{dots}{foot}</svg></div></figure>'
    )
