"""The rights of a user of MLflow's basic-auth app: remembered by their text, found by what they are on, and used only where they matter.

Each request reads all rights of its user, as one text with the row of the user. A worker remembers what a text means, and nothing about who has which
rights: another right is another text. MLflow goes through all rights of a user for each experiment in an answer. Here it is given those that are on the
experiment, or on everything, and decides by them. It reads answers again as messages to remove links that a user may not see. Here it is only asked if an
answer has such links.
"""

from __future__ import annotations

import functools
import json
from collections import OrderedDict
from collections.abc import Callable, Iterable
from threading import Lock
from typing import Any

from atlas_mlflow import source

#: The sha256 of the sources of MLflow's functions for which the functions here stand, by what they are about, with their releases. Others are MLflow's own.
FOLD = {"fffaf559799d767979cc7e3aba8d677232fa37180f04babd82f6c2ed9d1d7490": "3.17.2"}
EXPERIMENTS = {"9b275a6d001f823d30dd2077c04074ffdd966ba99d8a7366d2c3cb0a41c47568": "3.17.2"}
LINKS = {"cc8c4db263972e954a9e1ba2a2ed06034170803e0b8433539eade96347b72550": "3.17.2"}
#: The fields in which an answer with runs has links to models, in JSON.
MODEL_FIELDS = ("model_inputs", "model_outputs", "model_id")
#: The length of all texts together that a worker remembers. A right takes some 40 characters, and ten times the memory.
LENGTH = 500_000


class Rights(list[Any]):
    """Rights as MLflow lists them, each with a kind of thing, a pattern and a permission."""

    @functools.cached_property
    def _by_thing(self) -> dict[tuple[str, str], list[Any]]:
        found: dict[tuple[str, str], list[Any]] = {}
        for right in self:
            found.setdefault((right.resource_type, right.resource_pattern), []).append(right)
        return found

    def on(self, kind: str, thing: str | None) -> list[Any]:
        """Return the rights on one thing, and those on all things of its kind."""
        on_all = self._by_thing.get((kind, "*"), [])
        return on_all if thing is None or thing == "*" else self._by_thing.get((kind, thing), []) + on_all


class KnownRights:
    """What texts with the rights of users mean.

    :param make: Makes MLflow's object for a right of a kind of thing, a pattern and a permission.
    :param length: The length of all texts together. The text that was used least recently is forgotten first.
    """

    def __init__(self, make: Callable[..., Any], length: int = LENGTH) -> None:
        self._make = make
        self._most = length
        self._length = 0
        self._known: OrderedDict[str, dict[frozenset[str], Rights]] = OrderedDict()
        self._lock = Lock()

    def of(self, text: str, kinds: Iterable[str]) -> Rights:
        """Return the rights on some kinds of things. Nobody changes the answer.

        :param text: All rights of a user, as a list in JSON.
        """
        asked = frozenset(kinds)
        with self._lock:
            known = self._known.get(text)
            if known is not None:
                self._known.move_to_end(text)
                if asked in known:
                    return known[asked]
        every = (known or {}).get(frozenset())
        if every is None:
            every = Rights(self._make(*right) for right in json.loads(text))
        rights = Rights(right for right in every if right.resource_type in asked)
        with self._lock:
            if text not in self._known:
                self._known[text] = {frozenset(): every}
                self._length += len(text)
            self._known[text][asked] = rights
            while self._length > self._most:
                self._length -= len(self._known.popitem(last=False)[0])
        return rights


def folding(fold: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Return MLflow's function that makes one permission of the rights on a thing, which is only given rights that may be on the thing.

    :param fold: `fold_grants_for_key` of MLflow. It leaves out rights of another kind and with another pattern, unless it is `*`.
    """

    @functools.wraps(fold)
    def fold_those_on_it(rights: Any, key: Any) -> Any:
        return fold(rights.on(key.resource_type, key.resource_id) if isinstance(rights, Rights) else rights, key)

    return fold_those_on_it


def only_with(names: Iterable[str], handler: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a function of MLflow that removes something from an answer, which is only called if the answer has a field of one of the names.

    :param names: Names of fields, as they are in JSON.
    """
    quoted = [f'"{name}"'.encode() for name in names]

    @functools.wraps(handler)
    def handle(answer: Any) -> Any:
        text = answer.get_data()
        return handler(answer) if any(name in text for name in quoted) else None

    return handle


def readable_experiments(auth: Any) -> Callable[[Any], None]:
    """Return MLflow's filter of a search of experiments, which leaves an answer as it is instead of reading and writing it as messages.

    :param auth: `mlflow.server.auth`. Its questions and the rules for further pages are used.
    """
    from mlflow.protos.service_pb2 import SearchExperiments
    from mlflow.utils.search_utils import SearchUtils

    def filter_search_experiments(answer: Any) -> None:
        if auth.sender_is_admin():
            return
        can_read = auth._role_based_read_predicate(auth.authenticate_request().username, "experiment")
        found = json.loads(answer.get_data())
        everything = found.get("experiments", [])
        kept = [experiment for experiment in everything if can_read(experiment.get("experiment_id", ""))]
        token = found.get("next_page_token", "")
        request = auth._get_request_message(SearchExperiments())
        if len(kept) == len(everything) and (not token or len(kept) >= request.max_results):
            return
        more = SearchExperiments.Response()
        while len(kept) + len(more.experiments) < request.max_results and token:
            page = auth._get_tracking_store().search_experiments(
                view_type=request.view_type,
                max_results=request.max_results,
                order_by=request.order_by,
                filter_string=request.filter,
                page_token=token,
            )
            page = page[: request.max_results - len(kept) - len(more.experiments)]
            if not page:
                token = ""
                break
            more.experiments.extend(experiment.to_proto() for experiment in page if can_read(experiment.experiment_id))
            more.next_page_token = SearchUtils.create_page_token(SearchUtils.parse_start_offset_from_page_token(token) + len(page))
            token = more.next_page_token
        kept += json.loads(auth.message_to_json(more)).get("experiments", [])
        made = ({"experiments": kept} if kept else {}) | ({"next_page_token": token} if "next_page_token" in found else {})
        answer.set_data(json.dumps(made, separators=(",", ":")))

    return filter_search_experiments


def install(auth: Any) -> list[str]:
    """Let MLflow decide about rights and answers at a lower cost, and return the names of the functions that this release has in another form.

    :param auth: `mlflow.server.auth` of a release whose rights are `Rights`.
    """
    unknown: list[str] = []
    changed: dict[Any, Callable[[Any], Any]] = {}

    def function(name: str, module: Any = auth) -> Any:
        return getattr(module, name, None)

    if source.digest_of_all(function("fold_grants_for_key"), function("matches", getattr(auth, "permissions", None))) in FOLD:
        auth.fold_grants_for_key = folding(auth.fold_grants_for_key)
    else:
        unknown.append("fold_grants_for_key")
    search = function("filter_search_experiments")
    if source.digest(search) in EXPERIMENTS:
        changed[search] = readable_experiments(auth)
    else:
        unknown.append("filter_search_experiments")
    redacting = [function("redact_get_run_model_links"), function("redact_search_runs_model_links")]
    if source.digest_of_all(function("_redact_run_response"), function("_withhold_denied_run_model_links"), *redacting) in LINKS:
        changed |= {handler: only_with(MODEL_FIELDS, handler) for handler in redacting}
    else:
        unknown.append("_redact_run_response")
    # MLflow refuses a request without a check of its own, unless one of these functions filters the answer.
    enough = auth._SELF_AUTHORIZING_AFTER_REQUEST_HANDLERS
    auth._SELF_AUTHORIZING_AFTER_REQUEST_HANDLERS = enough | {made for handler, made in changed.items() if handler in enough}
    handlers = auth.AFTER_REQUEST_HANDLERS
    handlers.update({where: changed[handler] for where, handler in handlers.items() if handler in changed})
    return unknown
