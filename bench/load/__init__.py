"""Sockets and API under load, against the whole stack as shipped (``python -m bench.load``)."""
