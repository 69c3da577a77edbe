"""Import the modules that are given as arguments, so that their bytecode is in the image. Pass over those that a release does not have."""

import contextlib
import importlib
import sys

for name in sys.argv[1:]:
    with contextlib.suppress(Exception):
        importlib.import_module(name)
