"""The index of a bundle's packages, and what apt says it would install from it."""

from __future__ import annotations

import pytest
from ansible_collections.atlas.mlflow.plugins.module_utils.package_index import file_name, files_to_install, stanza, stanzas_of

HAPROXY = (
    "Package: haproxy\nVersion: 2.6.12-1+deb12u3\nArchitecture: amd64\nDepends: libc6 (>= 2.34)\nDescription: fast proxy\n several lines\n .\n with a blank\n"
)
TZDATA = "Package: tzdata\nVersion: 2:2025b-0\nArchitecture: all\n"
INDEX = "\n".join([stanza(HAPROXY, file_name(HAPROXY), 7, "aa"), stanza(TZDATA, file_name(TZDATA), 8, "bb")])


def test_a_file_has_no_epoch_in_its_name() -> None:
    assert file_name(TZDATA) == "tzdata_2025b-0_all.deb"
    assert file_name(HAPROXY) == "haproxy_2.6.12-1+deb12u3_amd64.deb"


def test_the_index_has_the_fields_of_the_packages_and_of_their_files() -> None:
    first, second = stanzas_of(INDEX)
    assert (first["Depends"], first["Filename"], first["Size"], first["SHA256"]) == ("libc6 (>= 2.34)", "./haproxy_2.6.12-1+deb12u3_amd64.deb", "7", "aa")
    assert second["Version"] == "2:2025b-0"


@pytest.mark.parametrize(
    "simulated",
    [
        "Reading package lists...\nInst tzdata [2024a-0] (2:2025b-0 localhost [all])\nInst haproxy (2.6.12-1+deb12u3 [amd64])\nConf haproxy (2.6.12-1+deb12u3 [amd64])\n",
        "Inst tzdata (2:2025b-0 Debian:12.11/stable, Debian:12 [all]) []\nInst haproxy:amd64 (2.6.12-1+deb12u3 localhost [amd64])\n",
    ],
)
def test_the_files_are_those_that_apt_would_install(simulated: str) -> None:
    assert files_to_install(simulated, INDEX) == ["haproxy_2.6.12-1+deb12u3_amd64.deb", "tzdata_2025b-0_all.deb"]


def test_nothing_is_to_install_if_apt_names_nothing() -> None:
    assert files_to_install("0 upgraded, 0 newly installed, 0 to remove and 0 not upgraded.\n", INDEX) == []


def test_a_package_that_the_index_does_not_have_is_an_error() -> None:
    with pytest.raises(KeyError):
        files_to_install("Inst haproxy (3.0 localhost [amd64])\n", INDEX)
