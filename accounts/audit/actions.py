"""Everything that is audited. An action's first word is the type of the object that it is done to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

ACTIONS: Final[Mapping[str, str]] = {
    "user.signed_in": "signed in; `refused`: the password was wrong, or the account is inactive",
    "user.signed_out": "signed out",
    "user.logins_ended": "logins of theirs were ended from elsewhere; `count` says how many",
    "user.factor_added": "a second factor was set up; `type` is totp, webauthn or recovery_codes",
    "user.factor_removed": "a second factor was taken away; `type` as above",
    "user.created": "an account was made",
    "user.changed": "an account's fields were changed, by its owner or by staff; `fields` names them",
    "user.activated": "an account may sign in again",
    "user.deactivated": "an account may not sign in any more",
    "user.permissions_changed": "the rights of an account were changed by staff; `fields` names them",
    "user.password_changed": "a password was set, changed or reset",
    "user.exported": "a person asked for all that is theirs as a file",
    "user.export_downloaded": "that file was taken",
    "user.deletion_asked": "an account is to be deleted; `due` says from when on there is no way back",
    "user.deletion_cancelled": "it is not to be deleted after all: its owner signed in again, or staff called it off",
    "user.deleted": "an account was deleted",
    "user.erased": "what the log said of a person's address, device and names was erased",
    "key.created": "an API key was given out",
    "key.changed": "an API key's name or expiry was changed; `fields` names which",
    "key.rotated": "an API key got a new secret; the old one goes on for `overlap_s` seconds",
    "key.revoked": "an API key was ended",
    "webhook.created": "an address was given to which one's news go; `host`, never the whole of it",
    "webhook.changed": "a webhook was changed; `fields` names what",
    "webhook.rotated": "a webhook got a new secret; the old one signs as well for `overlap_s` seconds",
    "webhook.disabled": "a webhook was switched off by staff (`staff`), by its receiver (`gone`) or for failing (`failing`)",
    "webhook.tested": "a test message was asked for",
    "webhook.replayed": "a message was sent again; `delivery` is its id",
    "webhook.deleted": "a webhook was removed with all that was to go there",
    "pack.created": "a knowledge pack was made",
    "pack.changed": "its fields were changed; `fields` names them, and `visibility` and `status` what they are now",
    "pack.trashed": "it went to the trash",
    "pack.restored": "it came back from the trash",
    "pack.purged": "it was deleted for good",
    "pack.exported": "it was taken out as a file",
    "pack.forked": "a copy of it was made; `copy` is the copy's id",
    "pack.shared": "a person got a role in it, or another one",
    "pack.unshared": "a person lost their role in it",
    "pack.transferred": "it got another owner",
    "pack.embedding_changed": "another embedding model was chosen, or all vectors are made anew",
    "snapshot.published": "a snapshot of a pack was published",
    "snapshot.deleted": "a snapshot of a pack was deleted",
    "import.started": "an import into a pack was begun",
    "import.committed": "the plan of an import was carried out",
    "import.cancelled": "an import was stopped",
    "embedding_model.created": "an embedding model was added",
    "embedding_model.changed": "an embedding model was changed; `fields` names what",
    "embedding_model.deleted": "an embedding model was removed",
    "council.created": "a council was convened",
    "council.changed": "its fields were changed; `fields` names them",
    "council.started": "a run of it was begun",
    "council.paused": "its owner stopped the clock",
    "council.resumed": "its owner started the clock",
    "council.stopped": "a person ended the run",
    "council.deleted": "it was put away",
    "council.exported": "its record was taken out as a file",
    "council.forked": "a council was made from it; `copy` is its id",
    "council.reconsidered": "it was asked to take its decision up again",
    "template.saved": "a council template was made or changed; `version` is the one that it has now",
    "template.deleted": "a council template was deleted",
    "profile.saved": "a model profile was made or changed; `fields` names what, `key` whether its secret was set or taken away",
    "profile.deleted": "a model profile was deleted",
    "budget.changed": "the limits of a person's day were changed",
    "admin.added": "staff added something in the admin; the object says what",
    "admin.changed": "staff changed something in the admin; `fields` names what",
    "admin.deleted": "staff deleted something in the admin",
    "audit.forgotten": "entries whose time was up were removed; `through` is the number of their last seal",
}


def table() -> str:
    """As Markdown, for ``docs/audit.md``."""
    return "\n".join(
        ["| action | what was done |", "|---|---|", *(f"| `{name}` | {what} |" for name, what in ACTIONS.items())]
    )
