"""The Celery application. ``python -m celery -A config worker`` finds it through ``config.celery_app``."""

import os
import threading
from typing import Any

from celery import Celery, signals

from realtime import stopping

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

app = Celery("quorum")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@signals.worker_init.connect
def prepare_stop(**_: Any) -> None:
    """Before the pool is forked, which then knows when it is to stop (``realtime.stopping``)."""
    stopping.process.prepare()


@signals.worker_process_init.connect
def watch_for_stop_in_child(**_: Any) -> None:
    stopping.process.watch(child=True)


@signals.worker_ready.connect
def watch_for_stop(**_: Any) -> None:
    stopping.process.watch(child=False)
    stopping.end_at_once_on_quit()


@signals.worker_shutting_down.connect
def stop(**_: Any) -> None:
    """Within the signal's handler. Celery itself takes no more tasks from here on and waits for those that run."""
    stopping.process.request()


@signals.worker_ready.connect
def preload(sender: Any, **_: Any) -> None:
    """A worker that runs turns loads the model SDK and the embedder at once, beside its first tasks instead of before them."""
    if "turns" in sender.app.amqp.queues.consume_from:
        from council.preload import preload as load

        threading.Thread(target=load, name="preload", daemon=True).start()
