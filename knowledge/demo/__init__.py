"""Bundled knowledge packs: two contested questions, each with evidence that points both ways."""
