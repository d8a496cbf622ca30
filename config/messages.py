"""``MESSAGE_STORAGE``: Django's own (a cookie, and the session for what is too long for one), with a cookie named like our others."""

from __future__ import annotations

from django.conf import settings
from django.contrib.messages.storage.cookie import CookieStorage
from django.contrib.messages.storage.fallback import FallbackStorage
from django.contrib.messages.storage.session import SessionStorage


class CookieMessages(CookieStorage):
    cookie_name = f"{'__Host-' if settings.HTTPS else ''}quorum_messages"


class Messages(FallbackStorage):
    storage_classes = (CookieMessages, SessionStorage)
