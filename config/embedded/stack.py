"""The whole of `manage.py up`: the servers, then the nursery with Quorum's own processes; and the way back."""

import os
import sys
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from config.embedded import llm, postgres, valkey
from config.embedded.address import Address
from config.embedded.errors import CommandFailed, ServiceFailed, last_line
from config.embedded.network import require_free
from config.embedded.process import ChildSpec, wrote_its_pid
from config.embedded.state import DataDir, ServiceUrls, read_json
from config.embedded.supervisor import TICK_S, Supervisor

PROJECT = Path(__file__).resolve().parents[2]
# Who calls goes before who is called.
STOP_ORDER = [["apps"], ["llm", "valkey"], ["postgres"]]
# The nursery needs up to 5.5 s for its web server, with event streams open.
APPS_STOP_GRACE_S = 6.5


@dataclass(frozen=True)
class Options:
    address: Address
    demo: bool
    index_processes: int
    web_processes: int = 1


class Interrupted(Exception):
    """Asked to stop before everything was up; not an error."""


class Stack:
    """One run on one data directory. `say` receives what a person at the terminal should read."""

    def __init__(
        self, data: DataDir, options: Options, should_stop: Callable[[], bool], say: Callable[[str], None]
    ) -> None:
        self.data = data
        self.options = options
        self.should_stop = should_stop
        self.say = say
        self.urls: ServiceUrls | None = None
        self.app_pids: dict[str, int] = {}
        self.supervisor = Supervisor(say=say, pids_changed=self._publish)

    def run(self) -> None:
        """Start, report readiness, serve until told to stop, stop. Raises EmbeddedError when a part does not come up."""
        self.data.create()
        with self.data.locked(), ExitStack() as closing:
            # A killed predecessor could not remove its own.
            self.data.forget_services()
            require_free(self.options.address.host, self.options.address.port)
            closing.callback(self._stop)
            try:
                self._start()
            except Interrupted:
                return
            self.say(f"Ready: {self.options.address.url}")
            self.say(f"Admin sign-in and API key: {self.data.credentials_file}")
            self._serve()

    def _start(self) -> None:
        self.urls = self._start_services()
        self.data.app_pids_file.unlink(missing_ok=True)
        self.supervisor.start(self._apps(self.urls))
        try:
            self._wait()
        except ServiceFailed as failure:
            if failure.name != "apps":
                raise
            # Its own last words name the process at fault and that one's log.
            raise CommandFailed(last_line(failure.log.read_text(errors="replace"))) from failure
        self._follow_apps()

    def _serve(self) -> None:
        while not self.should_stop():
            self.supervisor.step()
            self._follow_apps()
            time.sleep(TICK_S)

    def _start_services(self) -> ServiceUrls:
        """Start what no environment variable names; what one names is somebody else's to run."""
        given = {name: os.environ.get(name, "") for name in ("DATABASE_URL", "REDIS_URL", "LLM_BASE_URL", "LLM_MODEL")}
        database = None if given["DATABASE_URL"] else postgres.prepare(self.data)
        broker = None if given["REDIS_URL"] else valkey.prepare(self.data)
        model = None if given["LLM_BASE_URL"] else llm.prepare(self.data)
        self.supervisor.start(*[server.spec() for server in (database, broker, model) if server is not None])
        # The model loads while the database is migrated; nothing before Ready needs it.
        self._wait({"postgres", "valkey"})
        if database is not None:
            database.ensure_database()
        return ServiceUrls(
            database_url=database.url if database else given["DATABASE_URL"],
            redis_url=broker.url if broker else given["REDIS_URL"],
            llm_base_url=model.url if model else given["LLM_BASE_URL"],
            llm_model=llm.MODEL if model else given["LLM_MODEL"],
        )

    def _apps(self, urls: ServiceUrls) -> ChildSpec:
        where = [
            "--data-dir",
            str(self.data.root),
            "--host",
            self.options.address.host,
            "--port",
            str(self.options.address.port),
        ]
        how = [
            "--index-processes",
            str(self.options.index_processes),
            "--web-processes",
            str(self.options.web_processes),
            "--demo" if self.options.demo else "--no-demo",
        ]
        return ChildSpec(
            name="apps",
            argv=[sys.executable, "-m", "config.embedded.nursery", *where, *how],
            log=self.data.logs / "apps.log",
            healthy=wrote_its_pid(self.data.ready_file("apps")),
            env=self._environment(urls),
            cwd=PROJECT,
            stop_grace=APPS_STOP_GRACE_S,
            # It watches over its own start, and a migration may take as long as it takes.
            start_timeout=float("inf"),
            max_early_deaths=1,
        )

    def _environment(self, urls: ServiceUrls) -> Mapping[str, str]:
        return {
            **urls.as_env(),
            "QUORUM_DATA_DIR": str(self.data.root),
            "PORT": str(self.options.address.port),
            "PUBLIC_URL": os.environ.get("PUBLIC_URL") or self.options.address.url,
        }

    def _wait(self, only: Collection[str] | None = None) -> None:
        if not self.supervisor.wait_healthy(self.should_stop, only):
            raise Interrupted

    def _follow_apps(self) -> None:
        """Pass on what the nursery says of its children."""
        pids = read_json(self.data.app_pids_file)
        if pids != self.app_pids:
            self.app_pids = pids
            self._publish(self.supervisor.pids())

    def _publish(self, pids: Mapping[str, int]) -> None:
        if self.urls is not None:
            self.data.write_services(self.urls, {"up": os.getpid(), **pids, **self.app_pids})

    def _stop(self) -> None:
        self.urls = None
        self.data.forget_services()
        self.supervisor.stop(STOP_ORDER)
