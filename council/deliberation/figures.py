"""Small plots as SVG text: axes, dots with intervals, notes at the right. Standard library only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from council.deliberation.intervals import Share

COLOURS = ("#1b6ca8", "#b3541e", "#2d7d46", "#7a3e9d", "#8a6d00", "#5a5a5a", "#a8325e")  # all at least 4.5 : 1 on white


@dataclass(frozen=True)
class Axis:
    """``form`` is how its ticks are written, as in ``format``."""

    low: float
    high: float
    ticks: Sequence[float]
    label: str
    form: str = ".1f"

    def share(self, value: float) -> float:
        return (value - self.low) / (self.high - self.low)


@dataclass(frozen=True)
class Frame:
    """Where things stand, in pixels; the margins are around the area that the axes span."""

    title: str
    x: Axis
    y: Axis
    right: int = 90
    width: int = 640
    height: int = 400
    left: int = 60
    top: int = 30
    bottom: int = 50

    def at_x(self, value: float) -> float:
        return self.left + self.x.share(value) * (self.width - self.left - self.right)

    def at_y(self, value: float) -> float:
        return self.height - self.bottom - self.y.share(value) * (self.height - self.top - self.bottom)

    def dot(self, value: float, share: Share, colour: str) -> str:
        """A share at ``value`` with its interval."""
        at, low, high = self.at_x(value), self.at_y(share.low), self.at_y(share.high)
        return (
            f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{low:.1f}" y2="{high:.1f}" stroke="{colour}"/>'
            f'<circle cx="{at:.1f}" cy="{self.at_y(share.right):.1f}" r="3" fill="{colour}"/>'
        )

    def note(self, row: int, text: str, colour: str) -> str:
        """A line of the legend, from the top."""
        x, y = self.width - self.right + 14, self.top + 20 * row + 12
        return f'<text x="{x}" y="{y}" fill="{colour}">{escape(text)}</text>'

    def document(self, body: Iterable[str]) -> str:
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" font-family="sans-serif" '
            f'font-size="12" role="img"><title>{escape(self.title, quote=False)}</title>'
            f'<rect width="{self.width}" height="{self.height}" fill="#fff"/>{self._axes()}{"".join(body)}</svg>\n'
        )

    def _axes(self) -> str:
        lines = []
        for tick in self.y.ticks:
            y = self.at_y(tick)
            lines.append(
                f'<line x1="{self.left}" x2="{self.width - self.right}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>'
            )
            lines.append(f'<text x="{self.left - 8}" y="{y + 4:.1f}" text-anchor="end">{tick:{self.y.form}}</text>')
        at = self.height - self.bottom + 18
        lines += [
            f'<text x="{self.at_x(tick):.1f}" y="{at}" text-anchor="middle">{tick:{self.x.form}}</text>'
            for tick in self.x.ticks
        ]
        middle = (self.left + self.width - self.right) / 2
        lines.append(
            f'<text x="{middle:.0f}" y="{self.height - 10}" text-anchor="middle">{escape(self.x.label)}</text>'
        )
        lines.append(f'<text x="{self.left}" y="{self.top - 12}">{escape(self.y.label)}</text>')
        return "".join(lines)
