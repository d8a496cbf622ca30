"""A fake OpenAI-compatible server over real HTTP, with an Anthropic door, for tests, end-to-end runs and benches.

    with FakeModelServer() as fake:              # a thread of this process
        Endpoint(base_url=fake.url, model="fake")

    python -m tests.support.fake_openai --port 0   # a process; prints its base URL on one line

Routes: ``GET /v1/models``, ``POST /v1/chat/completions``, ``POST /v1/embeddings``, ``POST /v1/messages`` (Anthropic),
and ``GET /control/requests|stats``, ``POST /control/rules|reset``. Behaviour: ``fake_rules``; replies:
``fake_replies``.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import dataclasses
import json
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Self

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tests.support import fake_gullible
from tests.support.fake_replies import Speaker
from tests.support.fake_rules import Behaviour, Rules
from tests.support.fake_wire import AnthropicWire, Ask, Call, OpenAIWire, Wire, embed, packed, tokens

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

KEEP_REQUESTS = 4096
MODELS = (
    "fake",
    "fake-500",
    "fake-429",
    "fake-hang",
    "fake-cut",
    "fake-malformed",
    "fake-empty",
    "fake-slow",
    "fake-latency-200",
)
DEFAULT_DIMENSIONS = 384


@dataclass
class Recorded:
    """One request as the server saw it; times are ``time.time()``."""

    path: str
    body: dict[str, Any]
    model: str = ""
    status: int = 200
    arrived_at: float = field(default_factory=time.time)
    first_token_at: float | None = None
    finished_at: float | None = None
    disconnected_at: float | None = None  # when the client hung up on us, if it did
    tokens_sent: int = 0
    tokens_after_disconnect: int = 0


class FakeModels:
    """The ASGI application."""

    def __init__(self) -> None:
        self.rules = Rules()
        self.requests: deque[Recorded] = deque(maxlen=KEEP_REQUESTS)
        self.accepted = 0  # TCP connections, ever

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        if path.endswith("/chat/completions"):
            await self._chat(path, receive, send, OpenAIWire, openai_ask)
        elif path.endswith("/messages"):
            await self._chat(path, receive, send, AnthropicWire, anthropic_ask)
        elif path.endswith("/embeddings"):
            await self._embeddings(path, receive, send)
        elif path.endswith("/models"):
            models = [{"id": model, "object": "model", "created": 0, "owned_by": "quorum"} for model in MODELS]
            await answer(send, 200, {"object": "list", "data": models})
        elif path.startswith("/control/"):
            await self._control(path.removeprefix("/control/"), receive, send)
        else:
            await answer(send, 404, {"error": {"message": f"no route {path}", "code": "not_found"}})

    async def _control(self, what: str, receive: Receive, send: Send) -> None:
        if what == "requests":
            await answer(send, 200, {"requests": [dataclasses.asdict(r) for r in self.requests]})
        elif what == "stats":
            await answer(send, 200, {"accepted": self.accepted, "requests": len(self.requests)})
        elif what == "rules":
            self.rules.replace((await read_json(receive))["rules"])
            await answer(send, 200, {})
        elif what == "reset":
            self.reset()
            await answer(send, 200, {})
        else:
            await answer(send, 404, {"error": {"message": f"no control {what}"}})

    def reset(self) -> None:
        self.rules.reset()
        self.requests.clear()

    async def _embeddings(self, path: str, receive: Receive, send: Send) -> None:
        body = await read_json(receive)
        self.requests.append(Recorded(path, body, model=body.get("model", "")))
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        vectors = [embed(text, body.get("dimensions") or DEFAULT_DIMENSIONS) for text in texts]
        data = [
            {"object": "embedding", "index": i, "embedding": encoded(vector, body.get("encoding_format"))}
            for i, vector in enumerate(vectors)
        ]
        used = sum(len(text) for text in texts) // 4
        usage = {"prompt_tokens": used, "total_tokens": used}
        await answer(send, 200, {"object": "list", "model": body.get("model"), "data": data, "usage": usage})

    async def _chat(
        self, path: str, receive: Receive, send: Send, wire_class: type[Wire], parse: Callable[[dict[str, Any]], Ask]
    ) -> None:
        arrived = time.perf_counter()
        body = await read_json(receive)
        ask = parse(body)
        record = Recorded(path, body, model=ask.model)
        self.requests.append(record)
        behaviour = self.rules.behaviour(ask.model, ask.prompt)
        exchange = Exchange(ask, behaviour, wire_class(ask, behaviour), record, send, arrived)
        listener = asyncio.create_task(exchange.listen(receive)) if behaviour.waits else None
        try:
            await exchange.run()
        finally:
            record.finished_at = time.time()
            if listener is not None:
                listener.cancel()


class Exchange:
    """One chat request and its answer."""

    def __init__(
        self, ask: Ask, behaviour: Behaviour, wire: Wire, record: Recorded, send: Send, arrived: float
    ) -> None:
        self.arrived = arrived  # of the request, on the clock of ``perf_counter``
        self.ask = ask
        self.behaviour = behaviour
        self.wire = wire
        self.record = record
        self.send = send
        self.gone = asyncio.Event()

    async def listen(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.record.disconnected_at = time.time()
        self.gone.set()

    async def run(self) -> None:
        """The reply is made up before the latency is over, so that a call takes what its model name says, and not our CPU as well."""
        behaviour = self.behaviour
        pieces = self._pieces()
        await self._pause((behaviour.hang_s or 0) + behaviour.latency_s)
        complaint = unsupported(self.ask.body, behaviour.unsupported)
        if complaint:
            await self._fail(400, complaint)
        elif behaviour.status != 200:
            await self._fail(behaviour.status, behaviour.message)
        elif not self.gone.is_set():
            await self._answer(pieces)

    async def _pause(self, seconds: float) -> None:
        """Until ``seconds`` after the request came."""
        if seconds:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.gone.wait(), self.arrived + seconds - time.perf_counter())

    async def _fail(self, status: int, message: str) -> None:
        self.record.status = status
        headers = [(b"retry-after", self.behaviour.retry_after.encode())] if self.behaviour.retry_after else []
        await answer(self.send, status, self.wire.error(status, message, self.behaviour.code), headers)

    def _pieces(self) -> list[str]:
        ask = self.ask
        self.call = tool_call(ask, self.behaviour)
        if self.call is not None:
            return []
        if self.behaviour.flood:
            return ["flood"] * self.behaviour.flood
        pieces = tokens(Speaker(ask.model, ask.system, ask.user, ask.seed, self.behaviour).say(ask.schema))
        return pieces[: max(1, len(pieces) // 2)] if self.behaviour.length else pieces

    async def _answer(self, pieces: list[str]) -> None:
        if self.behaviour.plain == "html":
            await answer(self.send, 200, b"<html>a captive portal</html>", content_type=b"text/html")
        elif self.ask.stream and not self.behaviour.plain:
            await self._stream(pieces)
        else:
            await answer(self.send, 200, self.wire.whole("".join(pieces), len(pieces)))

    async def _stream(self, pieces: list[str]) -> None:
        headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]
        await self.send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._body(self.wire.start())
        if self.behaviour.malformed == "wire":
            await self._body(b'data: {"choices": [{"delta": \n\n')
        if self.behaviour.stream_error:
            fault = self.wire.error(500, self.behaviour.message, self.behaviour.stream_error)
            await self._body(b"event: error\ndata: " + fault + b"\n\n")
        if self.call is not None:
            await self._body(self.wire.call(self.call))
        cut = self.behaviour.cut_after
        await self._tokens(pieces if cut is None else pieces[:cut])
        if cut is not None:
            return  # uvicorn closes the connection of a response that was left unfinished
        await self._body(self.wire.end(len(pieces)), more=False)

    async def _tokens(self, pieces: list[str]) -> None:
        delay, size = self.behaviour.token_delay_s, self.behaviour.tokens_per_write
        step = 1 if delay else size
        self.record.first_token_at = time.time()
        for i in range(0, len(pieces), step):
            batch = pieces[i : i + step]
            await self._body(b"".join(map(self.wire.token, batch)))
            self.record.tokens_sent += len(batch)
            if self.gone.is_set():
                self.record.tokens_after_disconnect += len(batch)
                return
            if delay or self.behaviour.flood:
                await asyncio.sleep(delay)

    async def _body(self, data: bytes, *, more: bool = True) -> None:
        await self.send({"type": "http.response.body", "body": data, "more_body": more})


def openai_ask(body: dict[str, Any]) -> Ask:
    texts = {"system": "", "user": ""}
    for message in body["messages"]:
        role = {"user": "user", "tool": "user", "assistant": None}.get(message["role"], "system")
        if role is not None:
            texts[role] += f"\n\n{message['content']}" if texts[role] else message["content"]
    wanted = body.get("response_format") or {}
    schema = wanted.get("json_schema", {}).get("schema")
    if wanted.get("type") == "json_object":
        schema = {"type": "object", "properties": {"answer": {"type": "string"}}}
    limit = body.get("max_tokens") or body.get("max_completion_tokens") or 1 << 30
    called = sum(message["role"] == "tool" for message in body["messages"])
    may_call = bool(body.get("tools")) and body.get("tool_choice") != "none"
    return Ask(
        body["model"], texts["system"], texts["user"], bool(body.get("stream")), schema or in_words(texts["system"], body),
        limit, body.get("seed"), body, bool(body.get("tools")), may_call, called,
    )  # fmt: skip


def in_words(system: str, body: dict[str, Any]) -> dict[str, Any] | None:
    """The schema that the system prompt spells out. A model that calls tools is clever enough to keep to it."""
    _, found, text = system.partition("It must satisfy this JSON Schema:\n")
    return json.JSONDecoder().raw_decode(text)[0] if found and body.get("tools") else None


def tool_call(ask: Ask, behaviour: Behaviour) -> Call | None:
    """The call that the model makes instead of an answer: its queries are the question's words, turned round once for each search."""
    endless = behaviour.tools >= 1 << 30
    uninvited = behaviour.uninvited and not ask.tools and "ranking" in ((ask.schema or {}).get("properties") or {})
    searches = ask.tools and (ask.may_call or endless) and ask.called < behaviour.tools
    if not (searches or uninvited):
        return None
    ordered = fake_gullible.orders(ask.system, ask.user).call if behaviour.gullible else None
    if ordered is not None:
        return Call(f"call_{ask.called}", *ordered)
    if behaviour.call is not None:
        return Call(f"call_{ask.called}", behaviour.call["name"], behaviour.call["arguments"])
    words = Speaker(ask.model, ask.system, ask.user, ask.seed, behaviour).question.split()
    turn = ask.called % max(1, len(words))
    arguments: dict[str, Any] = {"query": " ".join([*words[turn:], *words[:turn]])[:200], "k": 3}
    if behaviour.misuse == "huge":
        arguments["k"] = 1000
    name = "delete_pack" if behaviour.misuse == "strange" else "search_packs"
    text = json.dumps(arguments, ensure_ascii=False)
    return Call(f"call_{ask.called}", name, text[:-1] if behaviour.misuse == "badjson" else text)


def anthropic_ask(body: dict[str, Any]) -> Ask:
    schema = ((body.get("output_config") or {}).get("format") or {}).get("schema")
    said = [block for message in body["messages"] if message["role"] == "user" for block in blocks(message["content"])]
    user = "\n\n".join(block["text"] if block["type"] == "text" else block["content"] for block in said)
    called = sum(block["type"] == "tool_result" for block in said)
    may_call = bool(body.get("tools")) and (body.get("tool_choice") or {}).get("type") != "none"
    system = body.get("system", "")
    return Ask(
        body["model"], system, user, bool(body.get("stream")), schema or in_words(system, body), body["max_tokens"], None, body,
        bool(body.get("tools")), may_call, called,
    )  # fmt: skip


def blocks(content: Any) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def unsupported(body: dict[str, Any], names: tuple[str, ...]) -> str:
    """The complaint of a server that does not know a parameter, in the words that real ones use."""
    kind = (body.get("response_format") or {}).get("type")
    for name in names:
        if name == kind:
            return f"'response_format' of type '{name}' is not supported with this model."
        if body.get(name) is not None:
            hint = " Use 'max_completion_tokens' instead." if name == "max_tokens" else ""
            return f"Unsupported parameter: '{name}' is not supported with this model.{hint}"
    return ""


def encoded(vector: list[float], encoding: str | None) -> list[float] | str:
    return base64.b64encode(packed(vector)).decode() if encoding == "base64" else vector


async def read_json(receive: Receive) -> dict[str, Any]:
    parts = []
    more = True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    loaded = json.loads(b"".join(parts) or b"{}")
    return loaded if isinstance(loaded, dict) else {}


async def answer(
    send: Send,
    status: int,
    body: object,
    headers: list[tuple[bytes, bytes]] | None = None,
    content_type: bytes = b"application/json",
) -> None:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    fixed = [(b"content-type", content_type), (b"content-length", str(len(data)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*fixed, *(headers or [])]})
    await send({"type": "http.response.body", "body": data})


# --- running it -----------------------------------------------------------------------------------------------------


def _server(app: FakeModels) -> uvicorn.Server:
    class Counting(HttpToolsProtocol):
        def connection_made(self, transport: Any) -> None:
            app.accepted += 1
            super().connection_made(transport)

    config = uvicorn.Config(
        app, http=Counting, ws="none", lifespan="off", log_config=None, log_level="critical", access_log=False,
        timeout_keep_alive=60, server_header=False, date_header=False,
    )  # fmt: skip
    return uvicorn.Server(config)


def _listen(port: int) -> socket.socket:
    listener = socket.create_server(("127.0.0.1", port), backlog=1024)
    listener.setblocking(False)
    return listener


class FakeModelServer:
    """The fake in a thread. ``url`` is the OpenAI base URL, ``root`` the Anthropic one and that of the control API."""

    def __init__(self, port: int = 0, rules: list[dict[str, Any]] | None = None) -> None:
        self.app = FakeModels()
        self.app.rules.replace(list(rules or []))
        self._socket = _listen(port)
        self.root = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.url = f"{self.root}/v1"
        self._server = _server(self.app)
        self._thread = threading.Thread(
            target=self._server.run, args=([self._socket],), name="fake-models", daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()  # the socket listens already: a client that comes too early waits in its queue
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = self._server.force_exit = True
        self._thread.join()
        self._socket.close()

    def set_rules(self, *rules: dict[str, Any]) -> None:
        self.app.rules.replace(list(rules))

    def reset(self) -> None:
        self.app.reset()

    @property
    def requests(self) -> list[Recorded]:
        return list(self.app.requests)

    @property
    def accepted(self) -> int:
        """TCP connections accepted since the start."""
        return self.app.accepted


@contextlib.contextmanager
def fake_process(port: int = 0) -> Iterator[str]:
    """The fake as a process of its own; yields its OpenAI base URL. For benches, where it must not share our
    interpreter.
    """
    command = [sys.executable, "-m", "tests.support.fake_openai", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    listener = _listen(parser.parse_args().port)
    print(f"http://127.0.0.1:{listener.getsockname()[1]}/v1", flush=True)
    _server(FakeModels()).run([listener])


if __name__ == "__main__":
    main()
