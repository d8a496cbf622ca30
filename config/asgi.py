"""ASGI entry point: HTTP to Django, sockets to Channels, start and shutdown to the live feed."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

import django

django.setup(set_prefix=False)  # the imports below need the apps' models

from typing import cast  # noqa: E402

from asgiref.typing import ASGI3Application  # noqa: E402
from channels.routing import ProtocolTypeRouter  # noqa: E402

from config.http.admission import Handler  # noqa: E402
from config.http.bounds import bounded  # noqa: E402
from config.sockets import websocket  # noqa: E402
from realtime.lifespan import lifespan  # noqa: E402

application = ProtocolTypeRouter(
    {"http": bounded(cast("ASGI3Application", Handler())), "websocket": websocket, "lifespan": lifespan}
)
