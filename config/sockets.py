"""WebSocket routes and the stack in front of them (written by the realtime work)."""

from channels.routing import URLRouter

websocket = URLRouter([])
