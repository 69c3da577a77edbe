"""Import the modules in the arguments, so that their bytecode is in the image. Skip modules that a release does not have."""

import contextlib
import importlib
import sys

for name in sys.argv[1:]:
    with contextlib.suppress(Exception):
        importlib.import_module(name)
