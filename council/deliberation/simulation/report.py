"""The experiments as Markdown tables and as one SVG plot. Text in, text out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from council.deliberation.figures import COLOURS, Axis, Frame
from council.deliberation.intervals import Share
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


def _share(share: Share) -> str:
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

FRAME = Frame(
    title="Condorcet's jury theorem: lines are theory, dots are the simulation",
    x=Axis(0.5, 0.95, (0.5, 0.6, 0.7, 0.8, 0.9), "competence of one seat (p)"),
    y=Axis(0.5, 1.0, (0.5, 0.6, 0.7, 0.8, 0.9, 1.0), "share of right decisions"),
)


def plot(rows: Sequence[x.Jury]) -> str:
    """Theory as lines, simulation as dots with their intervals."""
    sizes = sorted({row.n for row in rows})
    body = []
    for colour, n in zip(COLOURS, sizes, strict=False):
        points = " ".join(f"{FRAME.at_x(p):.1f},{FRAME.at_y(x.jury_theorem(n, p)):.1f}" for p in _steps())
        body.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        body += [FRAME.dot(row.p, row.simulated, colour) for row in rows if row.n == n]
    legend = zip(reversed(sizes), reversed(COLOURS[: len(sizes)]), strict=True)
    body += [FRAME.note(at, f"{n} seats", colour) for at, (n, colour) in enumerate(legend)]
    return FRAME.document(body)


def _steps() -> list[float]:
    return [0.5 + i / 100 for i in range(46)]
