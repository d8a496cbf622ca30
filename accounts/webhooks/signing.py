"""Secrets and signatures as Standard Webhooks (standardwebhooks.com) has them.

``webhook-signature`` is ``v1,BASE64`` of the HMAC-SHA256 over ``ID.TIMESTAMP.BODY``, once for each secret that signs, with a space in
between. The key is what stands behind ``whsec_``, decoded from base64.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Iterable
from typing import Final

PREFIX: Final = "whsec_"
_BYTES: Final = 32


def new_secret() -> str:
    return PREFIX + base64.b64encode(secrets.token_bytes(_BYTES)).decode()


def headers(message_id: str, timestamp: int, body: bytes, keys: Iterable[str]) -> dict[str, str]:
    """``timestamp``: of this attempt, in seconds since 1970, so that receivers can refuse what was recorded and played again."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{_signature(key, signed)}" for key in keys),
    }


def _signature(secret: str, signed: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(PREFIX))
    return base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
