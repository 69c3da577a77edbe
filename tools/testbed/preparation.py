"""What scenarios need before they start, made in the background. A scenario starts as soon as its own needs are there."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

from . import daemon, images, minio, registry
from .shell import ROOT

#: The parts that are no image of a host.
EXECUTABLE, ARCHIVES, REGISTRY = "executable of MinIO", "archives of images", "registry with images of MLflow"


def bare(system: str) -> str:
    """Return the name of the part with the bare hosts of a system."""
    return f"hosts with {system}"


def prepared(system: str) -> str:
    """Return the name of the part with the prepared hosts of a system."""
    return f"prepared hosts with {system}"


def needs(text: str, system: str = "") -> set[str]:
    """Return the names of the parts that a scenario needs.

    :param text: The scenario's file.
    :param system: The system of the hosts, if it is not that of the scenario.
    """
    hosts, filled = images.named_in(text + (images.host_image(system) if system else ""))
    mounts = registry.STORAGE.name in text
    others = {EXECUTABLE: "minio" in text, ARCHIVES: mounts or "containers" in text, REGISTRY: mounts}
    return {*map(bare, hosts), *map(prepared, filled), *(part for part, needed in others.items() if needed)}


class Preparation:
    """The parts that some scenarios need, which are made in the background."""

    def __init__(self, names: Iterable[str], system: str = "") -> None:
        """Start to make them.

        :param names: The scenarios.
        :param system: The system of their hosts, if it is not that of the scenarios.
        """
        self._needs = {name: needs((ROOT / "molecule" / name / "molecule.yml").read_text(), system) for name in names}
        self._parts = start(set().union(*self._needs.values()))

    def ready(self, name: str) -> bool:
        """Return whether all that a scenario needs is there.

        :raises TestbedError: If a part could not be made.
        """
        parts = [self._parts[part] for part in sorted(self._needs[name])]
        _wait(part for part in parts if part.done())
        return all(part.done() for part in parts)

    def wait(self) -> None:
        """Wait until all parts are there.

        :raises TestbedError: If one could not be made.
        """
        _wait(self._parts.values())


def ensure(parts: Iterable[str]) -> None:
    """Make parts, and wait until they are there.

    :raises TestbedError: If one could not be made.
    """
    _wait(start(set(parts)).values())


def start(wanted: set[str]) -> dict[str, Future[None]]:
    """Start Docker if it does not run, and then to make parts. Return what they will be. Each comes after those that it is made from, in its own thread."""
    systems = [name for name in sorted(images.SYSTEMS) if bare(name) in wanted]
    makers: dict[str, tuple[Callable[[], object], list[str]]] = {EXECUTABLE: (minio.ensure, [])}
    # The systems are built one after the other, because the network limits each. The archives can be made from any of them.
    for name, former in zip(systems, ["", *systems], strict=False):
        makers[bare(name)] = (functools.partial(images.ensure, name), [bare(former)])
        makers[prepared(name)] = (functools.partial(images.ensure_prepared, name), [bare(name)])
    # Go builds MinIO and the registry, and may have to be installed first.
    makers |= {ARCHIVES: (images.ensure_archives, [bare(name) for name in systems]), REGISTRY: (registry.ensure, [ARCHIVES, EXECUTABLE])}
    daemon.ensure()
    pool = ThreadPoolExecutor(max_workers=len(makers))
    parts: dict[str, Future[None]] = {}
    for part in (part for part in makers if part in wanted):
        maker, former_parts = makers[part]
        parts[part] = pool.submit(_make, maker, [parts[name] for name in former_parts if name in parts])
    pool.shutdown(wait=False)
    return parts


def _make(maker: Callable[[], object], former: list[Future[None]]) -> None:
    """Make a part after others.

    :raises TestbedError: If one of them could not be made.
    """
    _wait(former)
    maker()


def _wait(parts: Iterable[Future[None]]) -> None:
    """Wait until parts are there.

    :raises TestbedError: If one could not be made.
    """
    for part in parts:
        part.result()
