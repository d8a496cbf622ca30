"""The events of a person's own stream: their types, and a model of each one's ``data``.

The apps above fill these in when they tell people of a change (``accounts.streams.tell``), and their snapshot shows the same cards. So
nothing can be told here that these do not describe, and ``docs/events.md`` has the same table for clients.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from realtime.log import NewEvent


class Data(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class SessionCard(Data):
    """A council in a list."""

    id: UUID
    title: str
    status: Literal["draft", "running", "paused", "completed", "stopped", "failed", "archived"]
    reason: Annotated[str, Field(description="Why its latest run failed or was stopped; empty otherwise.")]
    created_at: AwareDatetime
    started_at: AwareDatetime | None
    finished_at: Annotated[AwareDatetime | None, Field(description="Null while it is a draft, runs or is paused.")]


class PackCard(Data):
    """A knowledge pack in a list."""

    id: UUID
    name: str
    status: Literal["draft", "active", "archived"]
    visibility: Literal["private", "public"]
    role: Annotated[Literal["viewer", "editor", "owner"], Field(description="What the person may do with it.")]


class About(Data):
    """What a notification is about."""

    type: Literal["session", "pack"]
    id: UUID


class Notification(Data):
    """Something that a person should look at. It is known by the number of its event."""

    kind: Literal[
        "seat_waiting",
        "gate_waiting",
        "council_concluded",
        "council_failed",
        "budget_exhausted",
        "pack_shared",
        "import_failed",
    ]
    about: About
    title: Annotated[str, Field(description="Of the council or the pack, as it was then.")]
    detail: Annotated[
        str, Field(description="Why it failed, or what was imported; empty where there is no more to say.")
    ] = ""
    turn: Annotated[UUID | None, Field(description="The turn that waits for a person.")] = None
    deadline_at: Annotated[AwareDatetime | None, Field(description="Until when it waits.")] = None
    by: Annotated[str | None, Field(description="The name of whoever shared the pack, where that is known.")] = None


class SessionData(Data):
    session: SessionCard


class PackData(Data):
    pack: PackCard


class PackId(Data):
    id: UUID


class PackGone(Data):
    """Of a pack that is not the person's to see any more, only the id is said. Notifications about it are gone as well."""

    pack: PackId


class NotificationCreated(Data):
    notification: Notification


class NotificationsRead(Data):
    up_to: Annotated[
        int, Field(ge=0, description="Notifications whose events have this number or a lower one are read.")
    ]


class Withdrawn(Data):
    """What stood at this number was about something that is not the person's to see any more."""


PACK_GONE: Final = frozenset({"pack.unshared", "pack.deleted"})
WITHDRAWN: Final = "withdrawn"
NOTIFICATION: Final = "notification.created"
READ: Final = "notifications.read"
MODELS: Final[dict[str, type[Data]]] = {
    "session.created": SessionData,
    "session.updated": SessionData,
    "session.started": SessionData,
    "session.paused": SessionData,
    "session.resumed": SessionData,
    "session.completed": SessionData,
    "session.stopped": SessionData,
    "session.failed": SessionData,
    "session.archived": SessionData,
    "pack.created": PackData,
    "pack.updated": PackData,
    "pack.restored": PackData,
    "pack.shared": PackData,
    "pack.unshared": PackGone,
    "pack.deleted": PackGone,
    NOTIFICATION: NotificationCreated,
    READ: NotificationsRead,
    WITHDRAWN: Withdrawn,
}


def event(kind: str, data: Data) -> NewEvent:
    """The event, for ``tell``. Raises ``TypeError`` when its data is another event's."""
    if type(data) is not MODELS[kind]:
        raise TypeError(f"{kind} takes {MODELS[kind].__name__}, not {type(data).__name__}")
    return kind, data.model_dump(mode="json")


def notification(content: Notification) -> NewEvent:
    return event(NOTIFICATION, NotificationCreated(notification=content))
