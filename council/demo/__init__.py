"""Bundled council templates that go with the packs of ``knowledge.demo``."""
