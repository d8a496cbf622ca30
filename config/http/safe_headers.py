"""What every answer tells browsers, whoever gave it: also files, refusals of the middleware, and errors that no view made.

Stands outside the rest of the chain and adds what is not there yet. Pages and the API have a policy with nonces (django-csp), exports
one of their own.
"""

from __future__ import annotations

from typing import Final

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from config.http.around import Around

# Of what is no page: a file of ours that is opened by itself (a drawing, say) may draw and run nothing that is not ours.
POLICY: Final = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'"
# Nothing here needs them. Passkeys (publickey-credentials-*) and the clipboard keep the browsers' default, our own pages.
_UNUSED: Final = (
    "accelerometer",
    "autoplay",
    "browsing-topics",
    "camera",
    "display-capture",
    "encrypted-media",
    "fullscreen",
    "geolocation",
    "gyroscope",
    "magnetometer",
    "microphone",
    "midi",
    "payment",
    "picture-in-picture",
    "screen-wake-lock",
    "usb",
    "xr-spatial-tracking",
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",  # other origins read the API by CORS, which this leaves alone
    "Permissions-Policy": ", ".join(f"{name}=()" for name in _UNUSED),
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def add(response: HttpResponseBase) -> None:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)


class SafeHeaders(Around):
    def after(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        add(response)
        return response
