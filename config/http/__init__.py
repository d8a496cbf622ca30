"""Middleware of the HTTP side, in the order in which ``settings.MIDDLEWARE`` puts it."""
