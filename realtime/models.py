"""The append-only event log that every live object stands on. Abstract: the owning apps make it concrete.

A *stream* is a row that owns a counter (``last_seq``); an *event* is one entry of its log. ``realtime.log.append`` is the only
writer: it takes the next numbers with one ``UPDATE … RETURNING`` on the owner, inside the transaction that changes the
state, so numbers are gapless and in commit order (a database sequence is neither).
"""

from __future__ import annotations

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models


class Stream(models.Model):
    """Owner of an event log. Concrete classes add an ``events`` relation through their ``Event`` subclass."""

    last_seq = models.BigIntegerField(default=0, editable=False)
    names_actor = False  # whether each event says who brought it about

    class Meta:
        abstract = True


class Event(models.Model):
    """One committed change. Subclasses declare ``stream = ForeignKey(Owner, related_name="events", on_delete=CASCADE)`` and
    ``pk = CompositePrimaryKey("stream_id", "seq")``."""

    seq = models.BigIntegerField(editable=False)
    type = models.CharField(max_length=64, editable=False)
    payload = models.JSONField(default=dict, editable=False, encoder=DjangoJSONEncoder)
    created_at = models.DateTimeField(editable=False)

    class Meta:
        abstract = True


class Cleanup(models.Model):
    """What one cleaner (``realtime.cleaning``) has done so far. A row rather than a counter in a process: any worker may have run it, or
    a person at a terminal, and the figures outlive them."""

    name = models.CharField(primary_key=True, max_length=40)
    removed = models.BigIntegerField(default=0)  # since the beginning
    last_success_at = models.DateTimeField(null=True)  # the last time that nothing was left to do; null: never yet

    def __str__(self) -> str:
        return self.name
