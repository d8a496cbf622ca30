"""The audit log: who did what, when, from where, and whether they were let. ``docs/audit.md`` says how it is kept.

``record`` is the only writer. It writes in the transaction of the change, so that there is an entry exactly when there is a change.
"""

from accounts.audit.recording import record

__all__ = ["record"]
