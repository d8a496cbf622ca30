"""Charts drawn by the server as inline SVG: no script, nothing for the content security policy to refuse, and every figure in a
text alternative. Colours come from classes of ``static/css/admin_knowledge.css``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

WIDTH, HEIGHT = 440, 150
LEFT, RIGHT, TOP, BOTTOM = 38, 8, 10, 22


@dataclass(frozen=True, slots=True)
class Point:
    """``label`` names the place on the horizontal axis; ``part`` is the share of ``value`` that is drawn in the warning colour."""

    label: str
    value: float
    part: float = 0


def line(title: str, points: Sequence[Point], *, top: float = 1.0, unit: str = "") -> SafeString:
    """Values from 0 to ``top``, joined from left to right."""
    step = (WIDTH - LEFT - RIGHT) / max(len(points) - 1, 1)
    places = [
        (LEFT + n * step if len(points) > 1 else WIDTH / 2, _y(point.value, top)) for n, point in enumerate(points)
    ]
    drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dots = format_html_join(
        "",
        '<circle class="dot" cx="{}" cy="{}" r="3"><title>{}: {}{}</title></circle>',
        (
            (f"{x:.1f}", f"{y:.1f}", point.label, _figure(point.value), unit)
            for (x, y), point in zip(places, points, strict=True)
        ),
    )
    return _frame(title, points, top, format_html('<polyline class="line" points="{}"/>{}', drawn, dots), unit)


def bars(title: str, points: Sequence[Point]) -> SafeString:
    """One bar for each point, from 0; its lower ``part`` in the warning colour."""
    highest = max((point.value for point in points), default=0)
    top = max(2 * math.ceil(highest / 2), 2)  # even, for the middle of the axis is labelled too
    step = (WIDTH - LEFT - RIGHT) / max(len(points), 1)
    width = max(step - 3, 1)
    drawn = format_html_join(
        "",
        '<rect class="bar" x="{x}" y="{y}" width="{w}" height="{h}"><title>{t}</title></rect>'
        '<rect class="part" x="{x}" y="{py}" width="{w}" height="{ph}"><title>{t}</title></rect>',
        (
            {
                "x": f"{LEFT + n * step:.1f}",
                "w": f"{width:.1f}",
                "y": f"{_y(point.value, top):.1f}",
                "h": f"{_y(0, top) - _y(point.value, top):.1f}",
                "py": f"{_y(point.part, top):.1f}",
                "ph": f"{_y(0, top) - _y(point.part, top):.1f}",
                "t": f"{point.label}: {_figure(point.value)}"
                + (f", {_figure(point.part)} without result" if point.part else ""),
            }
            for n, point in enumerate(points)
        ),
    )
    return _frame(title, points, top, drawn, "")


def shares(title: str, parts: Sequence[tuple[str, int]]) -> SafeString:
    """One horizontal bar cut into named shares, with a legend that gives the numbers; a share's name is its colour's class."""
    total = sum(count for _, count in parts) or 1
    left, pieces = 0.0, []
    for name, count in parts:
        width = WIDTH * count / total
        pieces.append((name, f"{left:.1f}", f"{width:.1f}", name, count))
        left += width
    drawn = format_html_join(
        "", '<rect class="s-{}" x="{}" y="0" width="{}" height="28"><title>{}: {}</title></rect>', pieces
    )
    legend = format_html_join(
        "", '<li><i class="s-{}"></i>{} <b>{}</b></li>', ((name, name, count) for name, count in parts)
    )
    said = ", ".join(f"{count} {name}" for name, count in parts) or "none"
    return format_html(
        '<svg class="q-shares" role="img" aria-label="{}: {}" viewBox="0 0 {} 28" preserveAspectRatio="none">{}</svg>'
        '<ul class="q-legend">{}</ul>',
        title, said, WIDTH, drawn, legend,
    )  # fmt: skip


def _frame(title: str, points: Sequence[Point], top: float, drawn: SafeString, unit: str) -> SafeString:
    """Axes, labels and the text alternative around what was drawn."""
    if not points:
        return format_html('<p class="q-none">{}: nothing yet.</p>', title)
    said = "; ".join(f"{point.label}: {_figure(point.value)}{unit}" for point in points)
    heights = [
        (f"{_y(value, top):.1f}", f"{_y(value, top) + 4:.1f}", _figure(value), unit) for value in (0, top / 2, top)
    ]
    lines = format_html_join(
        "",
        '<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/><text class="label" x="{}" y="{}" text-anchor="end">{}{}</text>',
        ((LEFT, WIDTH - RIGHT, y, y, LEFT - 6, below, figure, unit) for y, below, figure, unit in heights),
    )
    ends = format_html(
        '<text class="label" x="{}" y="{}">{}</text><text class="label" x="{}" y="{}" text-anchor="end">{}</text>',
        LEFT, HEIGHT - 6, points[0].label, WIDTH - RIGHT, HEIGHT - 6, points[-1].label if len(points) > 1 else "",
    )  # fmt: skip
    return format_html(
        '<svg class="q-chart" role="img" aria-label="{}. {}" viewBox="0 0 {} {}"><title>{}</title>{}{}{}</svg>',
        title, said, WIDTH, HEIGHT, title, lines, drawn, ends,
    )  # fmt: skip


def _y(value: float, top: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * min(value / top, 1)


def _figure(value: float) -> str:
    return f"{value:.0f}" if float(value).is_integer() else f"{value:.3g}"
