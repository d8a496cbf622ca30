"""Curves of measured figures as SVG files in docs/."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.report import DOCS
from council.deliberation.figures import COLOURS, Axis, Frame

Points = Sequence[tuple[float, float]]
TICKS = 5


def curves(name: str, title: str, x: str, y: str, series: Mapping[str, Points]) -> Path:
    """Draw one line for each series into ``docs/NAME.svg``; both axes begin at 0. ``x`` and ``y`` are the axes' labels."""
    across = _axis([point[0] for points in series.values() for point in points], x)
    up = _axis([point[1] for points in series.values() for point in points], y)
    frame = Frame(title, across, up, right=150)
    body = []
    for row, (label, points) in enumerate(series.items()):
        colour = COLOURS[row % len(COLOURS)]
        line = " ".join(f"{frame.at_x(a):.1f},{frame.at_y(b):.1f}" for a, b in points)
        body += [f'<polyline points="{line}" fill="none" stroke="{colour}"/>', frame.note(row, label, colour)]
    path = DOCS / f"{name}.svg"
    path.write_text(frame.document(body))
    return path


def _axis(values: Sequence[float], label: str) -> Axis:
    """From 0 to the next round number above the largest value."""
    most = max([*values, 1e-9])
    step = 10 ** math.floor(math.log10(most / TICKS))
    step = next(step * factor for factor in (1, 2, 5, 10) if step * factor * TICKS >= most)
    ticks = [step * number for number in range(math.ceil(most / step - 1e-9) + 1)]
    return Axis(0, ticks[-1], ticks, label, ".0f" if step >= 1 else ".2f")
