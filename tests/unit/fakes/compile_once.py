"""Compile each template once in this process.

The unit tests resolve the same templates of the roles for some hundred cases, each with an environment of its own as Ansible makes one for a task. What a
template is compiled to follows from its text and the environment's syntax alone; a template that does not compile is tried again.
"""

from __future__ import annotations

import types
from typing import Any

from ansible._internal._templating._jinja_bits import AnsibleEnvironment, _TemplateCompileContext

_compile = AnsibleEnvironment.compile
_compiled: dict[tuple[Any, ...], types.CodeType] = {}


def _once(self: AnsibleEnvironment, source: Any, name: str | None = None, filename: str | None = None, raw: bool = False, defer_init: bool = False) -> Any:
    if raw or not isinstance(source, str):
        return _compile(self, source, name, filename, raw, defer_init)
    context = _TemplateCompileContext.current(optional=True)
    # Environments of one syntax share their lexer.
    key = (str(source), name, filename, defer_init, self.lexer, context.escape_backslashes if context else None)
    if key not in _compiled:
        _compiled[key] = _compile(self, source, name, filename, raw, defer_init)
    return _compiled[key]


def install() -> None:
    """Have all environments of this process do so."""
    AnsibleEnvironment.compile = _once
