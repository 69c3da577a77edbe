"""Write answers as JSON without line breaks and indentation.

MLflow writes its answers for people to read. For that, Python has only a slow way, which takes eight times as long and makes the answer twice as long.
Programs read both in the same way. MLflow's function has a parameter for it, which is set here.
"""

from __future__ import annotations

import functools
import inspect
import sys

#: The modules that write answers.
MODULES = ("mlflow.server.handlers", "mlflow.server.auth")


def install() -> bool:
    """Let the modules that are loaded write short answers, and return whether this release has the parameter."""
    try:
        from mlflow.utils.proto_json_utils import message_to_json

        if "pretty" not in inspect.signature(message_to_json).parameters:
            return False
    except (ImportError, TypeError, ValueError):
        return False
    short = functools.partial(message_to_json, pretty=False)
    for name in MODULES:
        module = sys.modules.get(name)
        if getattr(module, "message_to_json", None) is message_to_json:
            vars(module)["message_to_json"] = short
    return True
