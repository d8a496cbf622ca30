"""Faults on the whole stack while councils flow through it, and what must hold afterwards (``python -m bench.chaos``)."""
