"""One authority and one set of certificates for all attacks."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from attacked import Attacked, issue

from cutlayer.wire.identity import Authority


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.create(tmp_path_factory.mktemp("authority"), "clinics")


@pytest.fixture(scope="session")
def parties(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return issue(authority, tmp_path_factory.mktemp("parties"))


@pytest.fixture
def attacked(parties: Path, authority: Authority, tmp_path: Path) -> Iterator[Attacked]:
    with Attacked(parties, authority, tmp_path).listening() as found:
        yield found
