"""Every bound and interval of the live protocol, in one place. ``docs/events.md`` promises them to clients."""

from __future__ import annotations

from django.conf import settings

# What one socket may do
HELLO_S = 10.0
FRAME_BYTES = 4096
FRAMES_PER_S = 20
SOCKETS_PER_USER: int = settings.SOCKETS_PER_USER  # in one process; Server-Sent Events count too
GUESTS = 1000  # sockets in one process that have not said hello yet

# What one socket may owe us before it is dropped
OUTBOX_FRAMES = 1000
OUTBOX_BYTES = 4 * 1024 * 1024
CLOSE_S = 2.0  # how long a close frame may take to get through to a reader that stopped reading

# What is kept
REPLAY_EVENTS = 300
SNAPSHOT_S = 2.0  # joiners within this time share one snapshot and the events after it
LINGER_S = 5.0  # a stream is watched on for so long after its last watcher left
DELTAS_WAITING = 1000
LIVE_TURNS_EVENTS = 1000  # a running turn was started within so many events

# How often
HEARTBEAT_S = 20.0
RECHECK_S = 60.0
PULSE_S = 1.0  # our own echo through the broker, and the reading of heads while it does not come back
HEAD_CHECK_S = 5.0  # the same while hints arrive: a publisher may have given up on one
CONFIRM_S = 1.0
RETRY_S = (0.1, 5.0)  # first and longest pause after a failed read
READ_ROWS = 500
PRESENCE_S = 0.5
PRESENCE_TTL_S = 60.0
SSE_COMMENT_S = 15.0

TICKET_S = 30
