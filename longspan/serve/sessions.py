"""Keeps sessions: streams with a state of their own, fed one reading at a time, saved and taken up again."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from longspan import artifact

from .limits import Limits, refused
from .models import ServedModel
from .streams import SessionStream, kind_of

KIND = "sessions"


@dataclass
class Session:
    """One stream.

    id: a random name; model: of the model; stream: what it reads. used: the time of the last reading, in
    seconds since 1970; lock: held while it reads.
    """

    id: str
    model: str
    stream: SessionStream
    used: float
    lock: threading.Lock = field(default_factory=threading.Lock)


class Sessions:
    """The sessions of all models, limited in number and age.

    Args:
        models: by name; limits: of the server; path: the file in which they are saved, None for none.
    """

    def __init__(self, models: Mapping[str, ServedModel], limits: Limits, path: Path | None = None) -> None:
        self.models, self.limits, self.path = models, limits, path
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._lock = threading.Lock()
        if path is not None and path.exists():
            self._restore(path)

    def __len__(self) -> int:
        return len(self._sessions)

    def begin(self, model: str, options: Mapping[str, Any]) -> Session:
        """A session of a model, from where the model's own stream stands.

        Raises:
            Refused: the model has no stream, or there are too many sessions.
        """
        self._end_old()
        if len(self._sessions) >= self.limits.sessions:
            received = f"{len(self._sessions):,}"
            expected = f"fewer than {self.limits.sessions:,} sessions"
            raise refused(503, "sessions", expected, received, "end one that is no longer needed")
        session = Session(secrets.token_urlsafe(18), model, self._stream(model, options), time.time())
        with self._lock:
            self._sessions[session.id] = session
        return session

    def get(self, model: str, id: str) -> Session:
        """A session by its id; raises `Refused` with status 404 where there is none."""
        self._end_old()
        session = self._sessions.get(id)
        if session is None or session.model != model:
            raise refused(404, "session", "the id of a living session", "another", "begin one")
        session.used = time.time()
        with self._lock:
            self._sessions.move_to_end(id)
        return session

    def end(self, model: str, id: str) -> Any:
        """Forget a session; returns the answer to all its readings, None where each had its own."""
        session = self.get(model, id)
        with self._lock:
            self._sessions.pop(id, None)
        with session.lock:
            return session.stream.finish()

    def save(self) -> None:
        """Write the states of all sessions into the file, atomically; nothing where there is no file."""
        if self.path is None:
            return
        saved = []
        for session in list(self._sessions.values()):
            if session.stream.saved:
                with session.lock:
                    state = session.stream.state()
                head = {"id": session.id, "model": session.model, "used": session.used}
                saved.append(head | {"state": state})
        tree, tensors = artifact.flatten({"sessions": saved})
        artifact.save(self.path, {"kind": KIND, "state": tree}, tensors)

    def _restore(self, path: Path) -> None:
        """Take up the sessions of a file; those of models that are not served stay out."""
        saved = artifact.load(path)
        with artifact.whole_model(path):
            state = artifact.unflatten(saved.config["state"], saved.tensors)
            for one in state["sessions"]:
                if one["model"] in self.models:
                    stream = self._stream(one["model"], {})
                    stream.restore(one["state"])
                    self._sessions[one["id"]] = Session(one["id"], one["model"], stream, one["used"])
        self._end_old()

    def _stream(self, model: str, options: Mapping[str, Any]) -> SessionStream:
        """A stream of a model."""
        kind = kind_of(self.models[model])
        if kind is None:
            names = [name for name, other in self.models.items() if kind_of(other) is not None]
            expected = f"a model that reads streams ({', '.join(names) or 'none here'})"
            raise refused(422, "session", expected, model, "use predict")
        return kind(self.models[model], options)

    def _end_old(self) -> None:
        """Forget sessions without a reading for too long; they are in the order of their last readings."""
        oldest = time.time() - self.limits.session_seconds
        with self._lock:
            for session in list(self._sessions.values()):
                if session.used >= oldest:
                    break
                del self._sessions[session.id]
