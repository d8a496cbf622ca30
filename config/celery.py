"""The Celery application. ``python -m celery -A config worker`` finds it through ``config.celery_app``."""

import os
import threading
from typing import Any

from celery import Celery, signals

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

app = Celery("quorum")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@signals.worker_ready.connect
def preload(sender: Any, **_: Any) -> None:
    """A worker that runs turns loads the model SDK and the embedder at once, beside its first tasks instead of before them."""
    if "turns" in sender.app.amqp.queues.consume_from:
        from council.preload import preload as load

        threading.Thread(target=load, name="preload", daemon=True).start()
