"""A pytest plugin (``-p`` in pyproject's addopts) that finds PostgreSQL and Valkey before Django reads its settings.

pytest-django loads the settings before any conftest.py is read, so this cannot stand there.
"""

from __future__ import annotations

import os
from pathlib import Path

TEST_DIR = Path(__file__).resolve().parents[2] / "var" / "test"

# A stack that `make run` may have running beside the tests must not be found by them.
os.environ.setdefault("QUORUM_DATA_DIR", str(TEST_DIR))
os.environ["LLM_BASE_URL"] = ""
os.environ.setdefault("LLM_MODEL", "fake")
os.environ["LLM_PRIVATE_NETWORKS"] = os.environ["WEBHOOK_PRIVATE_NETWORKS"] = "127.0.0.0/8"  # where tests' servers are

from config.embedded.testing import ensure_test_services  # noqa: E402  # reads the environment set above

_urls = ensure_test_services()
os.environ["DATABASE_URL"] = _urls.database_url
# One Valkey database for each pytest-xdist process: queues must not mix, for their workers look into different databases.
_number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
os.environ["REDIS_URL"] = f"{_urls.redis_url.rsplit('/', 1)[0]}/{_number + 1}" if _number else _urls.redis_url
