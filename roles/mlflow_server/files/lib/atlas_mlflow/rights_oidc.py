"""The rights of a user of the OpenID Connect plugin at full speed, and exact: each request reads them once.

The plugin asks for the rights on one thing after the other, by up to eight queries for each: the user's own, those of the user's groups, and the patterns
of both, for which it loads the experiment. It keeps the answers of a worker for 30 seconds, so that a right that was taken away counts that long on the
other workers, and forgets all of them when a user makes an experiment. Here

- one small query reads the user's own right on one thing, and only without one a second query reads what groups and patterns there are;
- a request that removes from an answer what its user may not see, or that asks for more than `SINGLE` things, reads all rights of the user by the same two;
- the plugin's memory for answers lasts for one request, so a changed right counts at the next request on each worker and server;
- the experiment of a run, and whether there is an experiment, is read by a small query.

What follows from the rights is decided by the plugin: the order of the sources, the patterns, the default. With workspaces, everything is the plugin's own.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from atlas_mlflow import source
from atlas_mlflow.checked_store import checked
from atlas_mlflow.login_memory import ask_again, asked_once, once
from atlas_mlflow.quick_rows import QuickRows, rows_of

logger = logging.getLogger(__name__)

#: A request that asks for more things than this reads all rights of its user. Most requests ask for one to three.
SINGLE = 3
#: The databases whose text is compared exactly, as here. Others do not tell upper from lower case.
DATABASES = ("postgresql", "sqlite")
#: The sha256 of the sources of the plugin's functions for rights, by release.
KNOWN = {"e4b516c80b9e8a9b6bed498dc372429f98abc8c792c20faa2f6234e484f4fc73": "10.1.3"}
#: The plugin's questions about patterns and groups. Nobody changes the answers.
QUESTIONS = (
    "get_groups_ids_for_user",
    "list_experiment_regex_permissions",
    "list_group_experiment_regex_permissions_for_groups_ids",
    "list_registered_model_regex_permissions",
    "list_group_registered_model_regex_permissions_for_groups_ids",
)


class OfOneRequest:
    """The plugin's memory for what it found out about rights, which ends with the request. Outside of a request, it has none."""

    @staticmethod
    def _known() -> dict[str, Any]:
        known: dict[str, Any] = once("the plugin's memory for rights", dict)
        return known

    def get(self, key: str) -> Any:
        """Return what was found out, None if nothing was."""
        return self._known().get(key)

    def set(self, key: str, value: Any) -> None:
        """Note what was found out."""
        self._known()[key] = value

    def delete(self, _key: str) -> None:
        """Ask again from now on: rights have changed."""
        ask_again()

    def delete_prefix(self, _prefix: str) -> None:
        """Ask again from now on: rights have changed."""
        ask_again()

    def clear(self) -> None:
        """Ask again from now on: rights have changed."""
        ask_again()


@dataclass(frozen=True)
class Rights:
    """What counts for one thing and one user. None if there is no such right."""

    user: str | None = None
    group: str | None = None
    #: Whether there are patterns for the user, and for the groups of the user, whatever they match.
    has_patterns: bool = False
    groups_have_patterns: bool = False


@dataclass
class _Asked:
    """What a request has read about a user's rights on one kind of thing."""

    known: dict[str, Rights]
    #: What counts for all other things, if all rights were read.
    others: Rights | None = None


def fold(rows: Iterable[Any], is_at_least: Callable[[str, str], bool]) -> tuple[dict[str, Rights], Rights]:
    """Return the rights by thing, and what counts for things without any.

    :param rows: Rows with where a right is from (`user`, `group`, `regex` or `group-regex`), its thing, the permission, and the row's place in the
        plugin's order.
    :param is_at_least: Says whether the second of two permissions counts at least as much as the first, by the plugin.
    """
    found: dict[str, dict[str, str]] = {"user": {}, "group": {}, "regex": {}, "group-regex": {}}
    for kind, thing, permission, *_place in sorted(rows, key=lambda row: tuple(row)[3:]):
        kept = found[kind].get(thing)
        # Of a user's own rights on one thing the first counts, of those of several groups the strongest.
        if kept is None or (kind == "group" and is_at_least(kept, permission)):
            found[kind][thing] = permission
    patterns = bool(found["regex"]), bool(found["group-regex"])
    things = {*found["user"], *found["group"]}
    return {thing: Rights(found["user"].get(thing), found["group"].get(thing), *patterns) for thing in things}, Rights(None, None, *patterns)


class RightsOfUsers:
    """The rights of users on one kind of thing, as a request asks for them.

    :param kind: Names the kind of thing and the kind of right. Hashable.
    :param read: Returns the rows for a user and one thing, or for all things if the thing is None. None if the database does not answer.
    :param is_at_least: As for `fold`.
    """

    def __init__(self, kind: Any, read: Callable[[str, str | None], list[Any] | None], is_at_least: Callable[[str, str], bool]) -> None:
        self._kind = kind
        self._read = read
        self._is_at_least = is_at_least

    def of(self, username: str, thing: Any) -> Rights | None:
        """Return what counts for a thing, None if the database does not answer."""
        if not isinstance(username, str) or not isinstance(thing, str):
            return None
        asked: _Asked = once(("rights", self._kind, username), lambda: _Asked({}))
        if thing in asked.known:
            return asked.known[thing]
        if asked.others is not None:
            return asked.others
        everything = len(asked.known) >= SINGLE or "all" in _choice()
        rows = self._read(username, None if everything else thing)
        if rows is None:
            return None
        known, others = fold(rows, self._is_at_least)
        if everything:
            asked.known, asked.others = known, others
        else:
            asked.known[thing] = known.get(thing, others)
        return asked.known.get(thing, others)


def with_rights(build: Callable[..., Any], own: RightsOfUsers, others: RightsOfUsers, missing: Callable[[], Any]) -> Callable[..., Any]:
    """Return the plugin's function for the sources of rights on one kind of thing, whose sources answer from what the request has read.

    :param build: The plugin's function. Its sources answer if the database did not.
    :param own: Knows the users' own rights.
    :param others: Knows the rights of users' groups, and whether there are patterns.
    :param missing: Makes the plugin's error for a right that is not there.
    """

    def sources(thing: Any, username: str, **given: Any) -> Any:
        plugins = build(thing, username, **given)

        def found(permission: str | None) -> str:
            if permission is None:
                raise missing()
            return permission

        def of_user() -> Any:
            known = own.of(username, thing)
            return plugins["user"]() if known is None else found(known.user)

        def of_groups() -> Any:
            known = others.of(username, thing)
            return plugins["group"]() if known is None else found(known.group)

        # The plugin loads an experiment for its name before it knows that there is no pattern.
        def of_patterns() -> Any:
            known = others.of(username, thing)
            return plugins["regex"]() if known is None or known.has_patterns else found(None)

        def of_group_patterns() -> Any:
            known = others.of(username, thing)
            return plugins["group-regex"]() if known is None or known.groups_have_patterns else found(None)

        return {**plugins, "user": of_user, "group": of_groups, "regex": of_patterns, "group-regex": of_group_patterns}

    return sources


def _choice() -> dict[str, bool]:
    made: dict[str, bool] = once("whether all rights are read", dict)
    return made


def reading_all(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of the plugin that removes from an answer what a user may not see, and that reads all rights of the user for it."""

    @functools.wraps(handler)
    def handle(*given: Any) -> Any:
        _choice()["all"] = True
        return handler(*given)

    return handle


def _readers(rows: QuickRows, tables: tuple[Any, Any, Any, Any], key: str, scope: Callable[[Any], Any] | None) -> list[Callable[[str, str | None], Any]]:
    """Return the functions that read rights on one kind of thing: the users' own, and those of groups with all patterns.

    :param tables: The plugin's tables: of rights of users, of groups, of patterns of users and of groups.
    :param key: The column for the thing.
    :param scope: Returns the plugin's condition on the workspace of a right, None if the kind has no workspace.
    """
    import sqlalchemy
    from mlflow.utils.workspace_utils import DEFAULT_WORKSPACE_NAME
    from mlflow_oidc_auth.db.models import SqlUser, SqlUserGroup

    literal = sqlalchemy.literal_column
    name = SqlUser.username == sqlalchemy.bindparam("name")
    dialect = type(rows.dialect)(paramstyle="named")

    def selected(kind: str, table: Any, *columns: Any) -> Any:
        """Return a selection of the columns of a table for a user or the groups of a user."""
        statement = sqlalchemy.select(literal(f"'{kind}'"), *columns).select_from(table)
        if kind in ("user", "regex"):
            return statement.join(SqlUser, SqlUser.id == table.user_id).where(name)
        return statement.join(SqlUserGroup, SqlUserGroup.group_id == table.group_id).join(SqlUser, SqlUser.id == SqlUserGroup.user_id).where(name)

    def rights(kind: str, table: Any, of_one: bool) -> Any:
        thing = getattr(table, key)
        # A user's right of the default workspace comes first, then the oldest.
        place = sqlalchemy.case((table.workspace == literal(f"'{DEFAULT_WORKSPACE_NAME}'"), literal("0")), else_=literal("1")) if scope else literal("0")
        statement = selected(kind, table, thing, table.permission, *((place, table.id) if kind == "user" else (literal("0"), table.group_id)))
        statement = statement.where(scope(table.workspace)) if scope else statement
        return statement.where(thing == sqlalchemy.bindparam("thing")) if of_one else statement

    def patterns(kind: str, table: Any) -> Any:
        return selected(kind, table, literal("''"), literal("''"), literal("0"), table.id)

    def as_text(statement: Any) -> Any:
        # SQLAlchemy goes through all parts of another statement each time.
        made = statement.compile(dialect=dialect)
        return sqlalchemy.text(str(made)).bindparams(**{key: value for key, value in made.params.items() if value is not None})

    def reader(statements: Callable[[bool], Any]) -> Callable[[str, str | None], Any]:
        one, everything = (as_text(statements(of_one)) for of_one in (True, False))

        def read(username: str, thing: str | None) -> Any:
            return rows.read(everything, name=username) if thing is None else rows.read(one, name=username, thing=thing)

        return read

    of_users, of_groups, of_patterns, of_group_patterns = tables
    return [
        reader(lambda of_one: rights("user", of_users, of_one)),
        reader(
            lambda of_one: sqlalchemy.union_all(rights("group", of_groups, of_one), patterns("regex", of_patterns), patterns("group-regex", of_group_patterns))
        ),
    ]


def install() -> bool:
    """Let the plugin read the rights of a user once in a request, and return whether this release of the plugin has what it needs."""
    try:
        from mlflow.exceptions import MlflowException
        from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST
        from mlflow_oidc_auth.config import config
        from mlflow_oidc_auth.db import models
        from mlflow_oidc_auth.hooks import after_request
        from mlflow_oidc_auth.permissions import compare_permissions
        from mlflow_oidc_auth.repository import _base, registered_model_permission, registered_model_permission_group
        from mlflow_oidc_auth.store import store
        from mlflow_oidc_auth.utils import data_fetching, grant_workspace, permissions
        from mlflow_oidc_auth.validators import experiment, run

        known = source.digest_of_all(
            permissions.resolve_permission,
            permissions.get_permission_from_store_or_default,
            permissions._build_experiment_sources,
            permissions._build_registered_model_sources,
            permissions._get_permission_cache,
            permissions._best_matching_regex,
            _base._GrantWorkspaceScope,
            _base.BaseUserPermissionRepository,
            _base.BaseGroupPermissionRepository,
            _base.BaseRegexPermissionRepository,
            _base.BaseGroupRegexPermissionRepository,
            registered_model_permission.RegisteredModelPermissionRepository,
            registered_model_permission_group.RegisteredModelPermissionGroupRepository,
            grant_workspace.grant_workspace_condition,
            grant_workspace.disabled_workspace_condition,
            data_fetching.get_run_experiment_id,
            experiment.get_artifact_experiment,
        )
        if known not in KNOWN:
            logger.warning("Each right of a user is read by queries of its own, because this release of the plugin is not known.")
            return False
        if config.MLFLOW_ENABLE_WORKSPACES or store.engine.dialect.name not in DATABASES:
            return False
        rows = rows_of(store)

        def missing() -> Any:
            return MlflowException("There is no such right.", RESOURCE_DOES_NOT_EXIST)

        def on(kind: str, names: tuple[str, str, str, str], key: str, scope: Any = None) -> None:
            tables = tuple(getattr(models, name) for name in names)
            readers = _readers(rows, tables, key, scope)
            own, others = (RightsOfUsers((kind, number), read, compare_permissions) for number, read in enumerate(readers))
            made[kind] = with_rights(permissions.PERMISSION_REGISTRY[kind], own, others, missing)

        made: dict[str, Any] = {}
        on(
            permissions.EXPERIMENT,
            ("SqlExperimentPermission", "SqlExperimentGroupPermission", "SqlExperimentRegexPermission", "SqlExperimentGroupRegexPermission"),
            "experiment_id",
        )
        on(
            permissions.REGISTERED_MODEL,
            (
                "SqlRegisteredModelPermission",
                "SqlRegisteredModelGroupPermission",
                "SqlRegisteredModelRegexPermission",
                "SqlRegisteredModelGroupRegexPermission",
            ),
            "name",
            grant_workspace.disabled_workspace_condition,
        )
        questions = {name: asked_once(name, getattr(store, name)) for name in QUESTIONS}
        get_store = checked(experiment._get_tracking_store, experiments=True)
        changed = (experiment, run, permissions)
        handlers = after_request.AFTER_REQUEST_HANDLERS
        filters = {where: reading_all(handler) for where, handler in handlers.items() if handler.__name__.startswith("_filter_")}
        for module in changed:
            vars(module)["_get_tracking_store"]
    except (ImportError, AttributeError, KeyError, TypeError) as error:
        logger.warning("Each right of a user is read by queries of its own, because this release of the plugin has another form: %s", error)
        return False
    for name, question in questions.items():
        setattr(store, name, question)
    for module in changed:
        module._get_tracking_store = get_store
    permissions.PERMISSION_REGISTRY.update(made)
    handlers.update(filters)
    permissions._permission_cache = OfOneRequest()
    return True
