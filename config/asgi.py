"""ASGI entry point: HTTP to Django, sockets to Channels, start and shutdown to the live feed."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

from django.core.asgi import get_asgi_application

http = get_asgi_application()  # sets the apps up; the imports below need their models

from typing import cast  # noqa: E402

from asgiref.typing import ASGI3Application  # noqa: E402
from channels.routing import ProtocolTypeRouter  # noqa: E402

from config.http.bounds import bounded  # noqa: E402
from config.sockets import websocket  # noqa: E402
from realtime.lifespan import lifespan  # noqa: E402

application = ProtocolTypeRouter(
    {"http": bounded(cast("ASGI3Application", http)), "websocket": websocket, "lifespan": lifespan}
)
