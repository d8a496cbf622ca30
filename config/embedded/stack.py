"""The whole of `manage.py up`: servers, migration, first data, processes; and the way back."""

import os
import sys
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from config.embedded import apps, llm, postgres, valkey
from config.embedded.errors import CommandFailed, last_line
from config.embedded.network import require_free
from config.embedded.process import Child, ChildSpec
from config.embedded.state import DataDir, ServiceUrls
from config.embedded.supervisor import Supervisor

# Who calls goes before who is called.
STOP_ORDER = [["web", "beat", "turns", "control", "index"], ["llm", "valkey"], ["postgres"]]
POLL_STEP_S = 0.02


@dataclass(frozen=True)
class Options:
    address: apps.Address
    demo: bool
    index_processes: int


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
            self.supervisor.run(self.should_stop)

    def _start(self) -> None:
        self.urls = self._start_services()
        self._publish(self.supervisor.pids())
        env = self._environment(self.urls)
        self._prepare_data(env)
        self.supervisor.start(*apps.specs(self.data, self.options.address, self.options.index_processes, env))
        self._wait()

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

    def _environment(self, urls: ServiceUrls) -> Mapping[str, str]:
        return {
            **urls.as_env(),
            "QUORUM_DATA_DIR": str(self.data.root),
            "PORT": str(self.options.address.port),
            "PUBLIC_URL": os.environ.get("PUBLIC_URL") or self.options.address.url,
        }

    def _prepare_data(self, env: Mapping[str, str]) -> None:
        """Migrate and bootstrap, with the servers watched meanwhile."""
        log = self.data.logs / "prepare.log"
        demo = [] if self.options.demo else ["--no-demo"]
        argv = [sys.executable, "-m", "config.embedded.prepare", "--url", self.options.address.url, *demo]
        child = Child(ChildSpec("prepare", argv, log, healthy=lambda _pid: True, env=env, cwd=apps.PROJECT))
        try:
            while not child.has_ended():
                self._check_interrupted()
                self.supervisor.step()
                time.sleep(POLL_STEP_S)
        finally:
            child.end()
        if child.returncode != 0:
            reason = last_line(log.read_text(errors="replace"))
            raise CommandFailed(f"Preparing the database failed ({child.exit_status}): {reason}; see {log}")

    def _wait(self, only: Collection[str] | None = None) -> None:
        if not self.supervisor.wait_healthy(self.should_stop, only):
            raise Interrupted

    def _check_interrupted(self) -> None:
        if self.should_stop():
            raise Interrupted

    def _publish(self, pids: Mapping[str, int]) -> None:
        if self.urls is not None:
            self.data.write_services(self.urls, {"up": os.getpid(), **pids})

    def _stop(self) -> None:
        self.urls = None
        self.data.forget_services()
        self.supervisor.stop(STOP_ORDER)
