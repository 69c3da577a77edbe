"""Users at full speed: check a password slowly once, and ask the store of users each question once in a request.

MLflow's basic-auth app checks the password up to four times in a request, and scrypt takes a tenth of a second each time. It also reads the user
and the user's rights again for each check. `install` gives it a store that remembers two things:

- in the worker's memory, a keyed hash of each name, its password, and the stored hash that the password was checked against. Each request reads
  the stored hash again, so a changed password and a removed user count at the next request, on every worker and server.
- for the length of one request, what the store has answered. A request that writes to the store asks again from then on.

A wrong password is not remembered: MLflow checks it, as slowly as before, and a name that does not exist is answered as before.
"""

from __future__ import annotations

import functools
import hmac
import json
import secrets
from collections import OrderedDict
from collections.abc import Callable
from contextvars import ContextVar
from threading import Lock
from typing import Any

#: The number of logins that a worker remembers. One takes some 200 bytes.
SIZE = 10_000


class LoginMemory:
    """The logins that were checked, as keyed hashes. The key is in this memory alone, so the hashes are of no use outside the process."""

    def __init__(self, size: int = SIZE) -> None:
        """Make an empty memory.

        :param size: The number of logins. The one that was used least recently is forgotten first.
        """
        self._size = size
        self._key = secrets.token_bytes(32)
        self._known: OrderedDict[bytes, None] = OrderedDict()
        self._lock = Lock()

    def _digest(self, name: str, password: str, stored: str) -> bytes:
        return hmac.digest(self._key, json.dumps([name, password, stored]).encode(), "sha256")

    def knows(self, name: str, password: str, stored: str) -> bool:
        """Return whether this password was right for this name when the store had this hash."""
        digest = self._digest(name, password, stored)
        with self._lock:
            if digest not in self._known:
                return False
            self._known.move_to_end(digest)
        return True

    def remember(self, name: str, password: str, stored: str) -> None:
        """Remember that a password is right for a name while the store has this hash."""
        digest = self._digest(name, password, stored)
        with self._lock:
            self._known[digest] = None
            self._known.move_to_end(digest)
            while len(self._known) > self._size:
                self._known.popitem(last=False)


class Answers:
    """What the store has answered in one request."""

    def __init__(self) -> None:
        """Begin a request."""
        self._known: dict[Any, Any] | None = {}

    def once(self, question: Any, ask: Callable[[], Any]) -> Any:
        """Return the answer to a question, and ask it only the first time. An error is not an answer."""
        known = self._known
        if known is None:
            return ask()
        if question not in known:
            known[question] = ask()
        return known[question]

    def end(self) -> None:
        """Ask each question again from now on: the store has changed, or the request is over."""
        self._known = None


#: The answers of the request that this thread or task serves, None outside of a request. Threads that serve a part of it have a copy of the context.
_request: ContextVar[Answers | None] = ContextVar("atlas_mlflow_answers", default=None)


class AnswersOfEachRequest:
    """The outermost ASGI application, which begins and ends the answers of a request."""

    def __init__(self, app: Any) -> None:
        """Take the next ASGI application."""
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request."""
        answers = Answers()
        token = _request.set(answers)
        try:
            await self.app(scope, receive, send)
        finally:
            answers.end()
            _request.reset(token)


def once(question: Any, ask: Callable[[], Any]) -> Any:
    """Return the answer to a question, and ask it only once in a request. Outside of a request, ask it each time.

    :param question: Identifies the question. Hashable.
    :param ask: Returns the answer.
    """
    answers = _request.get()
    return answers.once(question, ask) if answers else ask()


def ask_again() -> None:
    """From now on in this request, ask each question each time."""
    if answers := _request.get():
        answers.end()


def _hashable(value: Any) -> Any:
    return frozenset(value) if isinstance(value, set | frozenset | list | tuple) else value


def asked_once(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that asks the same, and only once in a request for the same arguments.

    :param name: Names the question.
    :param method: A function, or a method of a class.
    """

    @functools.wraps(method)
    def ask(*args: Any, **kwargs: Any) -> Any:
        question = (name, *map(_hashable, args), *((key, _hashable(value)) for key, value in sorted(kwargs.items())))
        return once(question, lambda: method(*args, **kwargs))

    return ask
