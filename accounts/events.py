"""Every event of a person's own stream and its snapshot, as types.

The apps above fill these in when they tell people of a change (``accounts.streams.tell``), and their snapshot shows the same cards. So
nothing can be told here that these do not describe.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal
from uuid import UUID

from pydantic import Field

from realtime.log import NewEvent
from realtime.schemas import EventType, Seq, Shape, StreamSchema, Time


class SessionCard(Shape):
    """A council in a list."""

    id: UUID
    title: str
    status: Literal["draft", "running", "paused", "completed", "stopped", "failed", "archived"]
    reason: Annotated[str, Field(description="Why its latest run failed or was stopped; empty otherwise.")]
    created_at: Time
    started_at: Time | None
    finished_at: Annotated[Time | None, Field(description="Null while it is a draft, runs or is paused.")]


class PackCard(Shape):
    """A knowledge pack in a list."""

    id: UUID
    name: str
    status: Literal["draft", "active", "archived"]
    visibility: Literal["private", "public"]
    role: Annotated[Literal["viewer", "editor", "owner"], Field(description="What the person may do with it.")]


class About(Shape):
    """What a notification is about."""

    type: Literal["session", "pack", "webhook"]
    id: UUID


class Notification(Shape):
    """Something that a person should look at. It is known by the number of its event."""

    kind: Literal[
        "seat_waiting",
        "gate_waiting",
        "council_concluded",
        "council_failed",
        "budget_exhausted",
        "pack_shared",
        "import_failed",
        "webhook_disabled",
    ]
    about: About
    title: Annotated[str, Field(description="Of the council or the pack, as it was then; of a webhook its host.")]
    detail: Annotated[
        str, Field(description="Why it failed, or what was imported; empty where there is no more to say.")
    ] = ""
    turn: Annotated[UUID | None, Field(description="The turn that waits for a person.")] = None
    deadline_at: Annotated[Time | None, Field(description="Until when it waits.")] = None
    by: Annotated[str | None, Field(description="The name of whoever shared the pack, where that is known.")] = None


class SessionData(Shape):
    session: SessionCard


class PackData(Shape):
    pack: PackCard


class PackId(Shape):
    id: UUID


class PackGone(Shape):
    """Of a pack that is not the person's to see any more, only the id is said. Notifications about it are gone as well."""

    pack: PackId


class SnapshotId(Shape):
    id: UUID


class PackPublished(Shape):
    pack: PackId
    snapshot: SnapshotId


class ImportDone(Shape):
    id: UUID
    status: Literal["completed", "failed", "cancelled"]


class PackImported(Shape):
    pack: PackId
    job: ImportDone


class NotificationCreated(Shape):
    notification: Notification


class NotificationsRead(Shape):
    up_to: Annotated[
        int, Field(ge=0, description="Notifications whose events have this number or a lower one are read.")
    ]


class Withdrawn(Shape):
    """What stood at this number was about something that is not the person's to see any more."""


PACK_GONE: Final = frozenset({"pack.unshared", "pack.deleted"})
WITHDRAWN: Final = "withdrawn"
NOTIFICATION: Final = "notification.created"
READ: Final = "notifications.read"


class Unread(Notification):
    """A notification that has not been read, known by the number of its event."""

    seq: Seq
    at: Time


class OwnSnapshot(Shape):
    """``sessions``: those that run or are paused and the newest 20 of any status, newest first; ``notifications``: oldest first."""

    sessions: list[SessionCard]
    notifications: list[Unread]
    read_up_to: Seq
    last_seq: Seq


OWN: Final = StreamSchema(
    name="me",
    path="/ws/me",
    title="One's own councils, packs and notifications",
    snapshot=OwnSnapshot,
    events=(
        EventType("session.created", SessionData, "a draft was made"),
        EventType("session.updated", SessionData, "a council has another title"),
        EventType("session.started", SessionData, "a run began"),
        EventType("session.paused", SessionData, "its owner stopped the clock"),
        EventType("session.resumed", SessionData, "its owner started the clock"),
        EventType("session.completed", SessionData, "the run ended by itself"),
        EventType("session.stopped", SessionData, "somebody stopped the run"),
        EventType("session.failed", SessionData, "the run failed"),
        EventType("session.archived", SessionData, "it was put away"),
        EventType("pack.created", PackData, "a pack of one's own, or one that one works with, is there"),
        EventType("pack.updated", PackData, "it has another name, status or visibility"),
        EventType("pack.published", PackPublished, "a snapshot of it was published"),
        EventType("pack.import_finished", PackImported, "an import into it came to its end"),
        EventType("pack.restored", PackData, "it is back from the trash"),
        EventType("pack.shared", PackData, "the person has a role in it, or another one (also by a transfer)"),
        EventType("pack.unshared", PackGone, "it is not shared with the person any more"),
        EventType("pack.deleted", PackGone, "it went to the trash"),
        EventType("pack.purged", PackGone, "it was deleted for good; its owner is told"),
        EventType(NOTIFICATION, NotificationCreated, "the person should look at something"),
        EventType(READ, NotificationsRead, "the person has seen those up to an event, on this device or another"),
        EventType(
            WITHDRAWN, Withdrawn, "in a replay or the list: this was about a pack that the person may not see any more"
        ),
    ),
)


def event(kind: str, data: Shape) -> NewEvent:
    """The event, for ``tell``. Raises ``TypeError`` when its data is another event's."""
    takes = OWN.by_name[kind].data
    if type(data) is not takes:
        raise TypeError(f"{kind} takes {takes.__name__}, not {type(data).__name__}")
    return kind, data.model_dump(mode="json")


def notification(content: Notification) -> NewEvent:
    return event(NOTIFICATION, NotificationCreated(notification=content))
