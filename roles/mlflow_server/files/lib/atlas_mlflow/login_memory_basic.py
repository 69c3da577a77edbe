"""Users of MLflow's basic-auth app at full speed: a store that remembers logins and asks each question once in a request, by small queries.

MLflow checks the password up to four times in a request, reads the user and the rights for each check, and loads a whole run to see in which
experiment it is. Here a request makes one query for the user, with the rights if the user is no administrator, and one for the experiment of a run.
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from atlas_mlflow import rights_basic, source
from atlas_mlflow.checked_store import checked, checked_registry
from atlas_mlflow.login_memory import AnswersOfEachRequest, LoginMemory, ask_again, asked_once, once
from atlas_mlflow.quick_rows import rows_of

logger = logging.getLogger(__name__)

#: The questions of MLflow's checks about rights, of all releases. Nobody changes the answers.
QUESTIONS = frozenset(
    {
        "get_experiment_permission",
        "get_registered_model_permission",
        "list_experiment_permissions",
        "list_grants",
        "list_registered_model_permissions",
    }
)
#: What a login needs to know of a user.
COLUMNS = ("id", "username", "password_hash", "is_admin")
#: SHA-256 of the source of MLflow's `list_grants` for which `_quick_grants` gives the same query. With another source, MLflow's own is used.
GRANTS = "7da32bf8506919a05885bd006f76841a6446847392c9846b5d9f529218e80ba5"


def _ends_the_answers(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def change(self: Any, *args: Any, **kwargs: Any) -> Any:
        ask_again()
        return method(self, *args, **kwargs)

    return change


def known_user(user: type) -> type:
    """Return MLflow's class for a user, made of the columns that a login reads. Its rights, which some releases list in it, are read if they are used.

    :param user: `mlflow.server.auth.entities.User` of the release.
    """

    class KnownUser(user):  # type: ignore[misc]
        def __init__(self, row: Any, read: Callable[[], Any]) -> None:
            super().__init__(*(getattr(row, column) for column in COLUMNS))
            self._read = read

    def read_later(name: str) -> property:
        return property(lambda self: getattr(self._read(), name))

    for name, value in vars(user).items():
        if isinstance(value, property) and name not in COLUMNS:
            setattr(KnownUser, name, read_later(name))
    return KnownUser


def remembering(store: type, user: type, read_user: Callable[[Any, str], Any]) -> type:
    """Return MLflow's store of users, with a memory.

    :param store: `mlflow.server.auth.sqlalchemy_store.SqlAlchemyStore` of the release.
    :param user: `mlflow.server.auth.entities.User`.
    :param read_user: Returns the row of a user, with `COLUMNS`, None if there is no such user or the database does not answer. MLflow then asks it
        again, and reports what is wrong.
    """
    make = known_user(user)

    def noted(row: Any) -> Any:
        # For `list_grants` in the same request, which knows the number of the user.
        if row and getattr(row, "rights", None) is not None:
            once(("rights of", row.id), lambda: row.rights)
        return row

    class RememberingStore(store):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self._logins = LoginMemory()

        def _user(self, name: str) -> Any:
            return once(("user", name), lambda: noted(read_user(self, name)))

        def authenticate_user(self, username: str, password: str, **options: Any) -> bool:
            # With options, such as another database to read from, the question is not that of a login.
            row = None if options else self._user(username)
            if row and self._logins.knows(username, password, row.password_hash):
                return True
            if not super().authenticate_user(username, password, **options):
                return False
            # The row was read before the slow check. If the password changed in between, it was checked against another hash.
            if row and (again := read_user(self, username)) and again.password_hash == row.password_hash:
                self._logins.remember(username, password, row.password_hash)
            return True

        def get_user(self, username: str) -> Any:
            row = self._user(username)
            return make(row, functools.cache(lambda: store.get_user(self, username))) if row else super().get_user(username)  # type: ignore[attr-defined]

    for name in dir(store):
        method = inspect.getattr_static(store, name)
        if inspect.isfunction(method) and not name.startswith("_") and name not in vars(RememberingStore):
            setattr(RememberingStore, name, asked_once(name, method) if name in QUESTIONS else _ends_the_answers(method))
    return RememberingStore


def _reader_of_users(table: Any, rights: Any = None) -> Callable[[Any, str], Any]:
    """Return a function that reads the row of a user, with `COLUMNS`.

    :param rights: The column `rights`, which is read too if the database is PostgreSQL.
    """
    import sqlalchemy

    columns = [getattr(table, column) for column in COLUMNS]
    by_name = sqlalchemy.select(*columns).where(table.username == sqlalchemy.bindparam("name"))
    with_rights = by_name if rights is None else by_name.add_columns(rights)

    def read_user(store: Any, name: str) -> Any:
        rows = rows_of(store)
        found = rows.read(with_rights if rows.dialect.name == "postgresql" else by_name, name=name)
        return found[0] if found and len(found) == 1 else None

    return read_user


@dataclass(frozen=True)
class _Grants:
    """How the rights of a user are read."""

    #: `list_grants` of the store.
    method: Callable[..., Any]
    #: The column `rights` of a user, all rights as a list in JSON. NULL for an administrator. None if the server has workspaces.
    column: Any


def _quick_grants(store: type, models: Any) -> _Grants | None:
    """Return how the rights of a user are read by a small query, None if MLflow's own is another query than the one that this stands for."""
    import sqlalchemy
    from sqlalchemy.dialects import postgresql

    method = getattr(store, "list_grants", None)
    if method is None or source.digest(method) != GRANTS:
        return None
    from mlflow.environment_variables import MLFLOW_ENABLE_WORKSPACES
    from mlflow.server.auth.permissions import RESOURCE_TYPE_WORKSPACE, _validate_resource_type
    from mlflow.server.auth.sqlalchemy_store import RoleGrantRow
    from mlflow.utils.workspace_utils import DEFAULT_WORKSPACE_NAME

    user, right, role, assignment = models.SqlUser, models.SqlRolePermission, models.SqlRole, models.SqlUserRoleAssignment
    columns = right.resource_type, right.resource_pattern, right.permission
    known = rights_basic.KnownRights(RoleGrantRow)

    def of_roles(*selected: Any) -> Any:
        statement = sqlalchemy.select(*selected).select_from(right).join(role, role.id == right.role_id)
        return statement.join(assignment, role.id == assignment.role_id)

    rights = of_roles(*columns).where(assignment.user_id == sqlalchemy.bindparam("user"), role.workspace == sqlalchemy.bindparam("workspace"))
    column = None
    if not MLFLOW_ENABLE_WORKSPACES.get():
        array = sqlalchemy.func.array_to_json(sqlalchemy.func.array_agg(postgresql.array(columns)))
        text = of_roles(sqlalchemy.cast(array, sqlalchemy.Text)).where(assignment.user_id == user.id, role.workspace == DEFAULT_WORKSPACE_NAME)
        text = sqlalchemy.func.coalesce(text.correlate(user).scalar_subquery(), "[]")
        column = sqlalchemy.case((user.is_admin, None), else_=text).label("rights")

    @functools.wraps(method)
    def list_grants(self: Any, user_id: int, workspace: str, resource_types: Any) -> Any:
        for resource_type in set(resource_types):
            _validate_resource_type(resource_type)
        types = {*resource_types, RESOURCE_TYPE_WORKSPACE}
        text = once(("rights of", user_id), lambda: None)
        if text is not None and workspace == DEFAULT_WORKSPACE_NAME:
            return known.of(text, types)
        rows = rows_of(self).read(rights, user=user_id, workspace=workspace)
        if rows is None:
            return method(self, user_id, workspace, resource_types)
        return rights_basic.Rights(RoleGrantRow(*row) for row in rows if row[0] in types)

    return _Grants(list_grants, column)


def install(app: Any) -> bool:
    """Give MLflow's basic-auth app a store with a memory, and return whether this release has what it needs.

    :param app: The FastAPI application of the release, with its login, before it serves its first request.
    """
    try:
        from mlflow.server import auth
        from mlflow.server.auth.db import models
        from mlflow.server.auth.entities import User

        base = type(auth.store)
        grants = _quick_grants(base, models)
        made = remembering(base, User, _reader_of_users(models.SqlUser, grants.column if grants else None))
        if grants:
            made.list_grants = asked_once("list_grants", grants.method)  # type: ignore[attr-defined]
        store = made()
        vars(store).update(vars(auth.store))
        get_store, get_registry = checked(auth._get_tracking_store), checked_registry(auth._get_model_registry_store)
        app.add_middleware(AnswersOfEachRequest)
    except (ImportError, AttributeError, TypeError) as error:
        logger.warning("Each request checks its password again, because this release of MLflow has another store of users: %s", error)
        return False
    auth.store, auth._get_tracking_store, auth._get_model_registry_store = store, get_store, get_registry
    if grants:
        rights_basic.install(auth)
    return True
