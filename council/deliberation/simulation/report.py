"""The experiments as Markdown tables and as one SVG plot. Text in, text out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from council.deliberation.simulation import experiments as x

START, END = "<!-- simulation -->", "<!-- /simulation -->"


def tables(trials: int, seed: int, jury: Sequence[x.Jury]) -> str:
    """Markdown of every experiment; ``trials`` for each row."""
    within = sum(row.simulated.low <= row.theory <= row.simulated.high for row in jury)
    parts = [
        f"{trials:,} trials a row, seed {seed}.",
        f"""**Condorcet's jury theorem** (two options, majority of blind openings): share right, simulated / in theory. {within} of
{len(jury)} figures of theory lie in the simulation's interval (95 % for all of them together).""",
        _jury(jury),
        "**Correlation** ρ (nine seats, p = .7) and the votes it leaves, `9 / (1 + 8 ρ)`:",
        _table(
            ["ρ", "share right", "effective votes"],
            ([f"{r.rho:g}", _share(r.simulated), f"{r.effective:.1f}"] for r in x.correlated(trials, seed)),
        ),
        "**Own text withheld** (five seats, open answers, p = .65, Schulze) against self-preference s:",
        _gains("s", "own text on the ballot", "withheld", x.self_votes(trials, seed)),
        "**An order for each voter** (five seats, five options, p = .65, Schulze) against position bias b:",
        _gains("b", "one order for all", "one for each", x.reading_orders(trials, seed)),
        "**Blind openings** (seven seats, two options, p = .65, majority) against conformity c:",
        _gains("c", "each sees those before it", "blind", x.blind_openings(trials, seed)),
        "**Rules** over the same ballots (five seats, open answers, p = .65); electing nobody counts as not right:",
        _table(["rule", "share right"], ([f"`{r.rule}`", _share(r.simulated)] for r in x.rules(trials, seed))),
    ]
    return "\n\n".join(parts)


def _jury(rows: Sequence[x.Jury]) -> str:
    by_size = {n: [row for row in rows if row.n == n] for n in sorted({row.n for row in rows})}
    return _table(
        ["N", *(f"p = {p:g}" for p in sorted({row.p for row in rows}))],
        ([str(n), *(f"{r.simulated.right:.3f} / {r.theory:.3f}" for r in row)] for n, row in by_size.items()),
    )


def _gains(name: str, without: str, with_: str, rows: Iterable[x.Gain]) -> str:
    return _table(
        [name, without, with_, "gain"],
        ([f"{r.strength:g}", f"{r.without:.3f}", f"{r.with_:.3f}", f"{r.gain:+.3f} ± {r.half:.3f}"] for r in rows),
    )


def _share(share: x.Share) -> str:
    return f"{share.right:.3f} ({share.low:.3f} to {share.high:.3f})"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])


def insert(page: str, text: str) -> str:
    """``page`` with ``text`` between the two marks. Raises ``ValueError`` when it has none."""
    before, found, rest = page.partition(START)
    _, closed, after = rest.partition(END)
    if not found or not closed:
        raise ValueError(f"the page has no {START} and {END}")
    return f"{before}{START}\n\n{text}\n\n{END}{after}"


# --- plot -------------------------------------------------------------------------------------------------------------

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 640, 400, 60, 30, 90, 50
COLOURS = ("#1b6ca8", "#b3541e", "#2d7d46", "#7a3e9d")  # all at least 4.5 : 1 on white
P_FROM, P_TO, Y_FROM, Y_TO = 0.5, 0.95, 0.5, 1.0


def plot(rows: Sequence[x.Jury]) -> str:
    """Theory as lines, simulation as dots with their intervals."""
    body = [_axes()]
    for colour, n in zip(COLOURS, sorted({row.n for row in rows}), strict=False):
        mine = [row for row in rows if row.n == n]
        points = " ".join(f"{_x(p):.1f},{_y(x.jury_theorem(n, p)):.1f}" for p in _steps())
        body.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        body += [_dot(row, colour) for row in mine]
    body.append(_legend(sorted({row.n for row in rows})))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12" role="img">'
        "<title>Condorcet's jury theorem: lines are theory, dots are the simulation</title>"
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>{"".join(body)}</svg>\n'
    )


def _steps() -> list[float]:
    return [P_FROM + i / 100 for i in range(round((P_TO - P_FROM) * 100) + 1)]


def _x(p: float) -> float:
    return LEFT + (p - P_FROM) / (P_TO - P_FROM) * (WIDTH - LEFT - RIGHT)


def _y(share: float) -> float:
    return HEIGHT - BOTTOM - (share - Y_FROM) / (Y_TO - Y_FROM) * (HEIGHT - TOP - BOTTOM)


def _dot(row: x.Jury, colour: str) -> str:
    at, low, high = _x(row.p), _y(row.simulated.low), _y(row.simulated.high)
    return (
        f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{low:.1f}" y2="{high:.1f}" stroke="{colour}"/>'
        f'<circle cx="{at:.1f}" cy="{_y(row.simulated.right):.1f}" r="3" fill="{colour}"/>'
    )


def _axes() -> str:
    lines = []
    for share in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0):
        y = _y(share)
        lines.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        lines.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{share:.1f}</text>')
    lines += [
        f'<text x="{_x(p):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{p:.1f}</text>'
        for p in (0.5, 0.6, 0.7, 0.8, 0.9)
    ]
    middle = (LEFT + WIDTH - RIGHT) / 2
    lines.append(f'<text x="{middle:.0f}" y="{HEIGHT - 10}" text-anchor="middle">competence of one seat (p)</text>')
    lines.append(f'<text x="{LEFT}" y="{TOP - 12}">share of right decisions</text>')
    return "".join(lines)


def _legend(sizes: Sequence[int]) -> str:
    return "".join(
        f'<text x="{WIDTH - RIGHT + 14}" y="{TOP + 20 * at + 12}" fill="{colour}">{n} seats</text>'
        for at, (n, colour) in enumerate(zip(reversed(sizes), reversed(COLOURS[: len(sizes)]), strict=True))
    )
