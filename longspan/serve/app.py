"""The server's addresses: predictions, sessions, health, metrics; and what runs it."""

from __future__ import annotations

import asyncio
import gc
import hmac
import logging
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from email.message import Message as Headers
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import uvicorn
from fastapi import FastAPI, Request, Response, WebSocket
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, StreamingResponse
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from longspan import __version__, errors
from longspan.tasks.estimator import Estimator
from longspan.tasks.language import LanguageModel

from . import bodies, files, generation
from .connections import LimitedProtocol, affordable
from .explanation import explain, explainer
from .limits import Deadline, Limits, Refused, check_options, parsed_options, refused
from .metrics import Metrics
from .models import ServedModel
from .pages import TEXTS, docs_page
from .schema import ANSWER, ERROR, SOURCE, request_schema
from .sequential import ServedSequential
from .session_service import SessionService, follow_options
from .sessions import Sessions
from .sockets import SessionSockets, offered_token
from .streams import kind_of

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_OPEN = ("/health", "/ready", *TEXTS)  # addresses that need no token
_ITEMS = 500  # of a recommender that its form offers
_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (
        b"content-security-policy",
        b"default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src blob:",
    ),
]
_log = logging.getLogger("longspan.serve")


class Content(NamedTuple):
    """The body of an answer, and its type."""

    body: bytes
    media_type: bytes

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        length = str(len(self.body)).encode()
        return [(b"content-length", length), (b"content-type", self.media_type)]


class Server:
    """The models, the sessions and the counts of one server.

    Args:
        models: fitted ones by name; limits: what is taken; token: that requests must carry, None for none.
        sessions: the file that keeps the sessions, None to forget them at the end.

    Attributes:
        direct: address -> what answers POST requests to it, for those that the guard answers by itself.
    """

    def __init__(
        self,
        models: Mapping[str, Estimator | ServedSequential],
        limits: Limits | None = None,
        token: str | None = None,
        sessions: Path | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self.token = token
        self.pool = ThreadPoolExecutor(self.limits.threads, thread_name_prefix="longspan")
        self.models = {
            name: ServedModel(name, model, self.limits, self.pool) for name, model in models.items()
        }
        kept = Sessions(self.models, self.limits, sessions)
        self.sessions = SessionService(self.models, self.limits, self.pool, kept)
        self.sockets = SessionSockets(self.sessions, self.limits, _error_response)
        self.metrics = Metrics()
        self.direct: dict[str, Callable[[Scope, Receive], Awaitable[Content]]] = {}

    def described(self) -> list[dict[str, Any]]:
        """Every model: its name, its task, its options, and whether it reads streams."""
        return [
            {
                "name": name,
                "task": served.model.name,
                "streams": served.model.stream_ is not None,
                "sessions": kind_of(served) is not None,
                "explains": explainer(served.model) is not None,
                "items": items_of(served.model),
                "reads_series": reads_series(served.model),
                "schema": schema_of(served),
                "generate": generation.request_schema() if isinstance(served.model, LanguageModel) else None,
            }
            for name, served in self.models.items()
        ]

    # ---- predictions

    async def predict(self, name: str, scope: Scope, receive: Receive) -> Content:
        """The answer to `POST /models/NAME/predict`."""
        served, headers = self.models[name], headers_of(scope)
        body = await self.read_body(headers, receive)
        content_type, filename = _content_type(headers)
        if content_type in ("application/json", ""):
            content = bodies.parse_json(body)
            source = bodies.as_source(content.pop("source", None), self.limits)
            source = files.without_paths(served.model.name, source)
            _check_no_query(scope)
            answer = await served.predict(source, _checked_options(served, content, "source"))
        else:
            options = _checked_options(served, parsed_options(served.options, _query(scope)))
            answer = await self._predict_file(served, body, bodies.ending_of(content_type, filename), options)
        self.metrics.rows.labels(name).inc(len(answer.frame))
        if bodies.prefers_csv(headers.get(b"accept", b"").decode("latin-1")):
            return Content(bodies.as_csv(answer.frame), b"text/csv; charset=utf-8")
        return Content(bodies.answer(answer.frame, answer.notes), b"application/json")

    async def _predict_file(self, served: ServedModel, body: bytes, ending: str, options: Any) -> Any:
        if not body:
            raise refused(422, "body", "a file", "an empty one", "send its bytes")
        files.check_kind(served.model.name, ending)
        loop = asyncio.get_running_loop()
        with tempfile.TemporaryDirectory(prefix="longspan-") as folder:
            path = Path(folder, f"source{ending}")
            path.write_bytes(body)
            await loop.run_in_executor(self.pool, files.check_file, path, self.limits)
            try:
                return files.without_folder(await served.predict(str(path), options), path)
            except (ValueError, TypeError, OSError) as error:
                if ": expected " not in str(error):
                    raise
                raise Refused(422, str(error).replace(str(path), path.name)) from error

    async def explain(self, name: str, request: Request) -> dict[str, Any]:
        """The answer to `POST /models/NAME/explain`."""
        body = await self.read_body(headers_of(request.scope), request.receive)
        served, content = self.models[name], bodies.parse_json(body)
        compute = partial(explain, served, content, self.limits)
        return await asyncio.get_running_loop().run_in_executor(self.pool, compute)

    async def generate(self, name: str, request: Request) -> Response:
        """The answer to `POST /models/NAME/generate`: text, sent as it is drawn."""
        model = cast(LanguageModel, self.models[name].model)
        content = bodies.parse_json(await self.read_body(headers_of(request.scope), request.receive))
        start = partial(generation.begin, model, content, self.limits)
        text = await asyncio.get_running_loop().run_in_executor(self.pool, start)
        return StreamingResponse(generation.pieces(text, self.pool), media_type="text/plain; charset=utf-8")

    def close(self) -> None:
        """Save the sessions and end the threads."""
        self.sessions.sessions.save()
        self.pool.shutdown(wait=True, cancel_futures=True)

    # ---- requests

    async def read_body(self, headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
        """The body of a request, within the limits of size and time."""
        encoding = headers.get(b"content-encoding", b"identity").strip().lower()
        if encoding != b"identity":
            received = repr(encoding.decode("latin-1"))
            raise refused(415, "Content-Encoding", "none", received, "send the body unpacked")
        try:
            async with Deadline(self.limits.seconds):
                return await bodies.read_body(receive, headers.get(b"content-length"), self.limits)
        except asyncio.TimeoutError:
            expected = f"a body within {self.limits.seconds:g} seconds"
            raise refused(408, "body", expected, "a slower one", "send it faster") from None

    def check_token(self, scope: Scope) -> None:
        """Refuse a request without the token; the comparison takes as long for every other text."""
        if self.token is None or scope["path"] in _OPEN:
            return
        headers = dict(scope["headers"])
        scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
        sent = token.strip() if scheme.lower() == b"bearer" else b""
        if scope["type"] == "websocket" and not sent:  # a browser cannot set the other header
            sent = offered_token(headers.get(b"sec-websocket-protocol", b"").decode("latin-1"))
        if not hmac.compare_digest(sent, self.token.encode()):
            way_out = "send the header Authorization: Bearer TOKEN"
            raise refused(401, "token", "the server's", "another or none", way_out)


def schema_of(served: ServedModel) -> dict[str, Any]:
    """The JSON schema of a request to a model."""
    if isinstance(served.model, ServedSequential):
        return {"type": "object", "required": ["source"], "properties": {"source": {"type": "array"}}}
    return request_schema(served.model)


def items_of(model: Any) -> list[str]:
    """The first items of a recommender, by which a form helps to pick; nothing for other models."""
    if model.name != "recommend":
        return []
    codec = model.fitted_.codec
    return [str(codec.items.ids[at]) for at in range(min(_ITEMS, len(codec.items)))]


def reads_series(model: Any) -> bool:
    """Whether a model classifies series, and no texts."""
    return model.name == "classify" and model.fitted_.codec.series_encoder is not None


def _checked_options(served: ServedModel, content: Mapping[str, Any], *others: str) -> dict[str, Any]:
    """Options that the model's task takes; lists are several values; others: names to offer beside them."""
    options = {name: tuple(value) if isinstance(value, list) else value for name, value in content.items()}
    check_options(served.options, options, *others)
    return options


def _query(scope: Scope) -> dict[str, str]:
    """The options in an address, as texts; each at most once."""
    pairs = QueryParams(scope["query_string"]).multi_items()
    given = dict(pairs)
    if len(given) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise refused(422, "address", "each option once", f"{twice!r} again", "put commas between values")
    return given


def _check_no_query(scope: Scope) -> None:
    """Refuse options in the address of a request with JSON, whose options are in its body."""
    names = ", ".join(_query(scope)) if scope["query_string"] else ""
    if names:
        raise refused(422, "address", "options in the body of JSON", repr(names), 'put them beside "source"')


def headers_of(scope: Scope) -> dict[bytes, bytes]:
    """The headers of a request by name; of several with one name the first."""
    return dict(reversed(scope["headers"]))


def _content_type(headers: Mapping[bytes, bytes]) -> tuple[str, str | None]:
    """The content type in lower case, and the name of the file that is sent, None without one."""
    kind = headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()
    disposition = headers.get(b"content-disposition")
    if disposition is None:
        return kind, None
    message = Headers()
    message["content-disposition"] = disposition.decode("latin-1")
    return kind, message.get_filename()


# ---- the application


def create_app(
    models: Mapping[str, Estimator | ServedSequential],
    *,
    limits: Limits | None = None,
    token: str | None = None,
    sessions: str | Path | None = None,
) -> FastAPI:
    """An ASGI application that answers for models.

    Args:
        models: fitted ones by name; `load_models` reads those of files.
        limits: of bodies, rows, time, sessions; None for the usual ones.
        token: that requests must carry in their header Authorization; None for none.
        sessions: the file that keeps sessions from one run to the next; None to forget them.
    """
    server = Server(models, limits, token, None if sessions is None else Path(sessions))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        saving = asyncio.get_running_loop().create_task(server.sessions.keep_saving())
        yield
        saving.cancel()
        await asyncio.get_running_loop().run_in_executor(None, server.close)

    app = FastAPI(
        title="longspan", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None,
        redirect_slashes=False,  # to an address made of the header Host
    )  # fmt: skip
    app.state.limits = server.limits
    _add_guard(app, server)
    _add_pages(app, server)
    for name in server.models:
        _add_model(app, server, name)
    app.add_api_websocket_route("/{path:path}", _unknown_socket)
    return app


async def _unknown_socket(websocket: WebSocket) -> None:
    """Refuse a websocket to an address that is none."""
    expected, received = "a model's sessions", repr(websocket.url.path)
    error = refused(404, "address", expected, received, "look at /docs")
    await websocket.send_denial_response(_error_response(error))


class Guard:
    """Checks every request's token, counts and logs it, and answers what fails with one sentence.

    Args:
        app: the ASGI application behind it.
    """

    def __init__(self, app: ASGIApp, server: Server) -> None:
        self.app, self.server = app, server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._check_socket(scope, receive, send)
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.perf_counter(), 0

        async def send_guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
            await send(message)

        direct = self.server.direct.get(scope["path"]) if scope["method"] == "POST" else None
        path = scope["path"] if direct else None
        try:
            self.server.check_token(scope)
            if direct is None:
                await self.app(scope, receive, send_guarded)
            else:
                content = await direct(scope, receive)
                await send_guarded({"type": "http.response.start", "status": 200, "headers": content.headers})
                await send_guarded({"type": "http.response.body", "body": content.body})
        except Exception as error:
            if status:  # the answer has begun
                raise
            await _error_response(error)(scope, receive, send_guarded)
        seconds = time.perf_counter() - began
        path = path or getattr(scope.get("route"), "path", "other")
        self.server.metrics.observe(path, status, seconds)
        _log.info("%s %s %d %.1f ms", scope["method"], path, status, 1e3 * seconds)

    async def _check_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a websocket with the token through, and refuse another one before it opens."""
        try:
            self.server.check_token(scope)
        except Refused as error:
            await WebSocket(scope, receive, send).send_denial_response(_error_response(error))
            return
        await self.app(scope, receive, send)


def _add_guard(app: FastAPI, server: Server) -> None:
    """Put the guard before an application, and answer its errors with the library's sentences."""
    app.add_middleware(Guard, server=server)

    @app.exception_handler(HTTPException)
    async def not_found(request: Request, error: HTTPException) -> Response:
        expected = "a method that it takes" if error.status_code == 405 else "one that is listed in /docs"
        sentence = errors.message(
            "address", expected, f"{request.method} {request.url.path!r}", "look at /docs"
        )
        return JSONResponse({"error": sentence}, error.status_code, error.headers)

    for kind in (Refused, ValueError, TypeError, OSError, ImportError):

        @app.exception_handler(kind)
        async def answer(request: Request, error: Exception) -> Response:
            return _error_response(error)


def _error_response(error: Exception) -> JSONResponse:
    """One sentence: the library's own where the request is at fault, else without details."""
    if isinstance(error, Refused):
        headers = {"WWW-Authenticate": "Bearer"} if error.status == 401 else None
        return JSONResponse({"error": error.text}, error.status, headers)
    if isinstance(error, (ValueError, TypeError, OSError, ImportError)) and ": expected " in str(error):
        return JSONResponse({"error": str(error)}, 422)
    if isinstance(
        error, (UnicodeEncodeError, OverflowError)
    ):  # half of a surrogate pair, a number of 400 digits
        sentence = errors.message(
            "source", "texts of characters and numbers of 64 bits", "others", "check them"
        )
        return JSONResponse({"error": sentence}, 422)
    _log.error("a request failed", exc_info=error)
    sentence = errors.message("server", "no error", "one of its own", "look at the server's log")
    return JSONResponse({"error": sentence}, 500)


def _add_pages(app: FastAPI, server: Server) -> None:
    """The page, the documentation, health, readiness, metrics and the list of models."""

    for path, (text, kind) in TEXTS.items():
        response = Response(text(), media_type=kind)
        app.add_api_route(path, partial(_same, response), methods=["GET"], include_in_schema=False)

    @app.get("/docs", response_class=HTMLResponse, include_in_schema=False)
    async def documentation() -> str:
        return docs_page(app.openapi())

    @app.get("/health")
    async def health() -> dict[str, str]:
        """Whether the server runs."""
        return {"status": "ok"}

    @app.get("/ready")
    async def ready() -> dict[str, Any]:
        """Whether the models are loaded."""
        return {"status": "ready", "models": list(server.models)}

    @app.get("/models")
    async def models() -> JSONResponse:
        """The models: name, task, schema of a request, whether they read streams."""
        return JSONResponse(server.described())

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> PlainTextResponse:
        """Counts and durations in the form that Prometheus reads."""
        return PlainTextResponse(
            server.metrics.text(len(server.sessions.sessions), server.sockets.connections),
            media_type="text/plain; version=0.0.4",
        )


async def _same(response: Response) -> Response:
    return response


def _add_model(app: FastAPI, server: Server, name: str) -> None:
    """The addresses of one model."""
    served, base = server.models[name], f"/models/{name}"
    answers: dict[int | str, dict[str, Any]] = {200: {"content": {"application/json": {"schema": ANSWER}}}}
    answers |= {
        status: {"description": "One sentence.", "content": {"application/json": {"schema": ERROR}}}
        for status in (400, 413, 415, 422, 503)
    }
    content: dict[str, Any] = {"application/json": {"schema": schema_of(served)}}
    content |= {kind: {"schema": {"type": "string", "format": "binary"}} for kind in bodies.ENDINGS}

    async def predict(request: Request) -> Response:
        content = await server.predict(name, request.scope, request.receive)
        return Response(content.body, media_type=content.media_type.decode())

    # The guard answers without the framework's layers; this route describes it and refuses other methods.
    server.direct[f"{base}/predict"] = partial(server.predict, name)
    app.add_api_route(
        f"{base}/predict", predict, methods=["POST"], responses=answers, tags=[name],
        summary=f"Predict with {name} ({served.model.name}).",
        openapi_extra={"requestBody": {"required": True, "content": content}},
    )  # fmt: skip
    if isinstance(served.model, LanguageModel):

        async def generate(request: Request) -> Response:
            return await server.generate(name, request)

        schema = {"application/json": {"schema": generation.request_schema()}}
        app.add_api_route(
            f"{base}/generate", generate, methods=["POST"], tags=[name], response_class=PlainTextResponse,
            summary=f"Let {name} write text, sent as it is drawn.",
            openapi_extra={"requestBody": {"required": True, "content": schema}},
        )  # fmt: skip
    if explainer(served.model) is not None:

        async def explain(request: Request) -> dict[str, Any]:
            return await server.explain(name, request)

        body = {"application/json": {"schema": {"type": "object", "properties": {"source": SOURCE}}}}
        app.add_api_route(
            f"{base}/explain", explain, methods=["POST"], tags=[name],
            summary=f"What mattered for the answers of {name}.",
            openapi_extra={"requestBody": {"required": True, "content": body}},
        )  # fmt: skip
    if kind_of(served) is not None:
        _add_sessions(app, server, name)


def _add_sessions(app: FastAPI, server: Server, name: str) -> None:
    """The addresses of one model's sessions."""
    service, sessions = server.sessions, f"/models/{name}/sessions"

    async def begin(request: Request) -> dict[str, Any]:
        return await service.begin(name, dict(request.query_params))

    async def read(session: str, request: Request) -> dict[str, Any]:
        headers = headers_of(request.scope)
        body = await server.read_body(headers, request.receive)
        is_json = _content_type(headers)[0] in ("application/json", "")
        return await service.read(name, session, bodies.parse_json(body) if is_json else body)

    async def follow(session: str, request: Request) -> Response:
        options = follow_options(service.get(name, session), dict(request.query_params))
        frame = await service.follow(name, session, options)
        return Response(bodies.answer(frame, []), media_type="application/json")

    async def end(session: str) -> dict[str, Any]:
        return await service.end(name, session)

    async def connect(websocket: WebSocket, session: str | None = None) -> None:
        await server.sockets.run(websocket, name, session)

    schema = {"type": "object", "required": ["reading"], "properties": {"reading": {}}}
    reading = {"application/json": {"schema": schema}, "application/octet-stream": {}}
    for path, method, endpoint, summary in (
        (sessions, "POST", begin, "Begin a session: a stream with a state of its own. Also a websocket."),
        (sessions + "/{session}", "POST", read, "Read one more reading of a session. Also a websocket."),
        (sessions + "/{session}", "GET", follow, "What follows the readings of a session."),
        (sessions + "/{session}", "DELETE", end, "End a session."),
    ):
        extra = {"requestBody": {"required": True, "content": reading}} if endpoint is read else None
        app.add_api_route(path, endpoint, methods=[method], summary=summary, tags=[name], openapi_extra=extra)
    app.add_api_websocket_route(sessions, connect)
    app.add_api_websocket_route(sessions + "/{session}", connect)


def check_host(host: str, token: str | None, *, open_to_all: bool = False) -> None:
    """Refuse an address that other machines reach, for a server without a token.

    Raises:
        ValueError: one sentence with the way out.
    """
    if host not in _LOOPBACK and token is None and not open_to_all:
        way_out = "pass --token FILE, or --no-token if everyone may ask"
        raise errors.value_error("--host", "a token for a host that others reach", host, way_out)


def configuration(
    app: FastAPI, *, host: str = "127.0.0.1", port: int = 8000, log_level: str = "warning"
) -> uvicorn.Config:
    """How uvicorn serves an application of `create_app`: with its limits of bodies, headers and idle time."""
    limits: Limits = app.state.limits
    counted = replace(limits, open_connections=affordable(limits.open_connections))
    return uvicorn.Config(
        app, host=host, port=port, log_level=log_level, access_log=False, server_header=False,
        http=cast(Any, partial(LimitedProtocol, counted, set())), timeout_keep_alive=limits.idle_seconds,
        timeout_graceful_shutdown=30, ws_max_size=2 * limits.body_bytes,  # longer ones get no sentence
    )  # fmt: skip


def run(app: FastAPI, *, host: str = "127.0.0.1", port: int = 8000, log_level: str = "warning") -> None:
    """Serve an application until it is interrupted; running requests are answered first.

    What is in memory at the start, such as the models, is left out of garbage collections, which would stop
    all answers for a tenth of a second.
    """
    gc.collect()
    gc.freeze()
    try:
        with suppress(KeyboardInterrupt):  # which uvicorn raises again once it has ended
            uvicorn.Server(configuration(app, host=host, port=port, log_level=log_level)).run()
    finally:
        gc.unfreeze()
