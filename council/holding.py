"""A person's councils, for what accounts does with everything of theirs: exports, quotas, usage, and the end."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Count, F, OuterRef, Q, Subquery, Sum
from django.db.models.functions import TruncDate
from django.utils import timezone

from accounts import holdings
from accounts.holdings import Amount, Json, Member
from accounts.models import User
from accounts.own_data import document
from council import claims, services, steps
from council.export.record import record
from council.models import CouncilSession, CouncilTemplate, LlmCall, Run, TemplateVersion
from council.states import OPEN_RUNS, SessionStatus
from realtime.errors import IllegalState, NotFound

OPEN: Final = (SessionStatus.RUNNING, SessionStatus.PAUSED)
_LARGE: Final = ("council_sessionevent WHERE stream_id", "council_llmcall WHERE session_id")


class Councils(holdings.Holding):
    name = "council"
    things = "councils"
    stream = CouncilSession
    layer = 2
    owned = (CouncilSession, CouncilTemplate)

    def counts(self, user: User) -> Mapping[str, int]:
        return {"councils": CouncilSession.objects.filter(owner=user).count()}

    def quiet(self, user: User) -> None:
        """Stop what runs: nobody is to pay for it any more."""
        open_ = CouncilSession.objects.filter(
            Q(status__in=OPEN) | Q(turns__status__in=["pending", "running"]), owner=user
        )
        for session_id in list(open_.values_list("pk", flat=True).distinct()):
            with suppress(IllegalState, NotFound):  # it has just ended by itself
                services.stop(user, session_id)

    def members(self, user: User) -> Iterator[Member]:
        """The complete records, with the prompts; what is still sealed is in none."""
        for session in CouncilSession.objects.filter(owner=user).order_by("created_at", "pk").iterator(50):
            yield Member(f"councils/{session.pk}.json", (document(record(one, prompts=True)) for one in [session]))
        templates = CouncilTemplate.objects.filter(owner=user).order_by("created_at")
        names = (
            "id",
            "slug",
            "title",
            "description",
            "agents",
            "protocol",
            "question",
            "options",
            "version",
            "created_at",
        )
        yield Member("council-templates.json", [document(list(templates.values(*names)))])

    def purge_step(self, user_id: UUID) -> bool:
        session_id = CouncilSession.objects.filter(owner=user_id).order_by("pk").values_list("pk", flat=True).first()
        if session_id is not None:
            _delete_session(session_id)
            return True
        return _delete_template(user_id)

    def holds(self, user_id: UUID) -> bool:
        owned = (model.objects.filter(owner=user_id).exists() for model in (CouncilSession, CouncilTemplate))
        return any(owned)

    def usage(self, user: User, since: datetime, until: datetime) -> Json:
        rows = list(_by_day_and_model(user, since, until))
        days: dict[Any, Json] = {}
        models: dict[str, Json] = {}
        for row in rows:
            _add(days.setdefault(row["day"], {"date": row["day"], **_NOTHING}), row)
            name = row["profile"] or row["model"]
            _add(models.setdefault(name, {"model": name, **_NOTHING}), row)
        total = dict(_NOTHING)
        for row in rows:
            _add(total, row)
        ordered = sorted(models.values(), key=lambda one: (-one["usd"], one["model"]))
        return {"total": total, "days": [days[day] for day in sorted(days)], "models": ordered}

    def activity(self, user: User, watched: Collection[UUID]) -> list[Json]:
        shown = CouncilSession.objects.filter(Q(status__in=OPEN) | Q(pk__in=watched), owner=user)
        since = Run.objects.filter(session=OuterRef("pk"), status__in=OPEN_RUNS).values("started_at")[:1]
        rows = shown.annotate(running_since=Subquery(since)).order_by("-created_at", "-id")
        return [
            {"id": one.pk, "name": one.title, "status": one.status, "running_since": one.running_since} for one in rows
        ]

    def meters(self) -> Mapping[str, Callable[[UUID], Amount]]:
        return {
            "councils_running": lambda user: CouncilSession.objects.filter(owner=user, status__in=OPEN).count(),
            "councils_day": lambda user: Run.objects.filter(session__owner=user, started_at__gte=today()).count(),
            "tokens_day": lambda user: _used(user, today(), "tokens"),
            "tokens_month": lambda user: _used(user, today().replace(day=1), "tokens"),
            "usd_day": lambda user: _used(user, today(), "usd"),
            "usd_month": lambda user: _used(user, today().replace(day=1), "usd"),
        }


_NOTHING: Final[Json] = {"calls": 0, "failed": 0, "tokens_in": 0, "tokens_out": 0, "usd": 0, "seconds": 0}


def today() -> datetime:
    """The beginning of the day, UTC's."""
    return timezone.now().astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def _by_day_and_model(user: User, since: datetime, until: datetime) -> Iterable[Mapping[str, Any]]:
    calls = LlmCall.objects.filter(session__owner=user, started_at__gte=since, started_at__lt=until)
    return (
        calls.annotate(day=TruncDate("started_at", tzinfo=UTC))
        .values("day", "profile", "model")
        .annotate(
            calls=Count("pk"),
            failed=Count("pk", filter=~Q(status__in=[LlmCall.Status.OK, LlmCall.Status.RUNNING])),
            tokens_in=Sum("prompt_tokens"),
            tokens_out=Sum("completion_tokens"),
            cost=Sum("usd"),
            time=Sum("seconds"),
        )
        .order_by("day", "profile", "model")
    )


def _add(to: Json, row: Mapping[str, Any]) -> None:
    for name in ("calls", "failed", "tokens_in", "tokens_out"):
        to[name] += row[name]
    to["usd"] += row["cost"]
    to["seconds"] += row["time"]


def _used(user_id: UUID, since: datetime, what: str) -> Amount:
    """Of calls that began since then: what they cost, and of those that run what they have reserved."""
    columns = {"tokens": F("prompt_tokens") + F("completion_tokens"), "usd": F("usd")}
    calls = LlmCall.objects.filter(session__owner=user_id, started_at__gte=since)
    found = calls.aggregate(
        used=Sum(columns[what], filter=~Q(status=LlmCall.Status.RUNNING)),
        reserved=Sum(F(f"{what}_reserved"), filter=Q(status=LlmCall.Status.RUNNING)),
    )
    return (found["used"] or 0) + (found["reserved"] or 0)


@transaction.atomic
def _delete_session(session_id: UUID) -> None:
    """One council with all that is in it; its size is bounded by its budget and its deadline."""
    session = claims.lock_session(session_id)
    if session is None:
        return  # another worker was faster
    if run := Run.objects.filter(session=session, status__in=OPEN_RUNS).first():
        steps.stop(session, run, "its owner's account is deleted")  # a step of its own: workers are to see it
        return
    with connection.cursor() as cursor:  # what there may be a great many of, without bringing it here
        for rows in _LARGE:
            cursor.execute(f"DELETE FROM {rows} = %s", [session_id])  # noqa: S608  # constants of ours
    session.delete()


@transaction.atomic
def _delete_template(user_id: UUID) -> bool:
    template = CouncilTemplate.objects.filter(owner=user_id).first()
    if template is None:
        return False
    versions = TemplateVersion.objects.filter(template=template.pk)
    versions.exclude(pk__in=CouncilSession.objects.filter(template_ran__in=versions).values("template_ran")).delete()
    template.delete()
    return True
