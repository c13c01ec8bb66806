"""What should not be believed is flagged on the page: an oracle, shared samples, a mere guess."""

from dataclasses import replace
from html.parser import HTMLParser

import pytest
import torch
from torch import Tensor

from cutlayer.assembly import Assembly
from cutlayer.attacks import Reconstruction
from cutlayer.auditing import attackers
from cutlayer.auditing.page import write
from cutlayer.auditing.request import Request
from cutlayer.auditing.result import Audit
from cutlayer.auditing.run import carry_out
from cutlayer.auditing.words import verdict
from cutlayer.config import parse
from cutlayer.data import DATASETS, Dataset
from cutlayer.parts import each_constructed
from cutlayer.record import Store
from cutlayer.threat import Observed, View

SETTINGS = {"data": "test_audit_flags:doubled", "model": "mlp", "epochs": 2}
VICTIMS = 64


def doubled() -> Dataset:
    """Every sample twice: no division keeps the victims to themselves."""
    digits = DATASETS["digits"]()
    return replace(digits, x=torch.cat([digits.x] * 2), y=torch.cat([digits.y] * 2))


class Oracle(Reconstruction):
    """Reads the data set itself, and pretends to have understood the messages."""

    def _fit(self, view: View) -> None:
        a = Assembly.of(parse(SETTINGS | {"victims": VICTIMS}))
        self.truth_ = a.take(a.victims)[0]

    def _reconstruct(self, seen: Observed) -> Tensor:
        return self.truth_[: len(seen.messages)]


class Guess(Reconstruction):
    """Looks at no message."""

    def _fit(self, view: View) -> None:
        self.mean_ = view.auxiliary.mean(0)

    def _reconstruct(self, seen: Observed) -> Tensor:
        return self.mean_.expand(len(seen.messages), *self.mean_.shape)


class Rows(HTMLParser):
    """Of the table of every number: the attacker of each row and its flags."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[set[str]] = []
        self.inside = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "tr":
            self.rows.append(set())
            self.inside = True
        if tag == "a" and given.get("class") == "flag" and self.inside:
            self.rows[-1].add((given.get("href") or "").removeprefix("#flag-"))

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag != "tr"

    def handle_data(self, data: str) -> None:
        if self.inside and data.strip():
            self.rows[-1].add(data.strip())

    def of(self, attacker: str) -> list[set[str]]:
        return [row for row in self.rows if attacker in row]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Audit, Rows]:
    folder = tmp_path_factory.mktemp("flags")
    own = ("test_audit_flags:Oracle", "test_audit_flags:Guess")
    request = Request(
        experiment=parse(SETTINGS),
        threats=("black-box",),
        cuts=("act1",),
        families=(),
        attacks=each_constructed(own, "attack"),
        most_victims=VICTIMS,
    )
    with pytest.MonkeyPatch.context() as patch:
        for name in ("_QUICK", "_THOROUGH"):
            patch.setattr(attackers, name, getattr(attackers, name)[:1])  # the affine map
        audit, _ = carry_out(request, store=Store(folder / "runs"))
    return audit, Rows(write(audit, folder / "page").read_text())


def test_an_oracle_is_flagged_on_the_page(found: tuple[Audit, Rows]) -> None:
    rows = found[1].of("test_audit_flags:Oracle")
    assert rows
    assert all("attack-knows-victims" in row for row in rows)


def test_shared_samples_are_flagged_in_every_row(found: tuple[Audit, Rows]) -> None:
    audit, page = found
    rows = [row for a in audit.configurations[0].attacks for row in page.of(a.name)]
    assert rows
    assert all("overlapping-data" in row for row in rows)


def test_an_attack_that_guesses_is_flagged_and_others_are_not(found: tuple[Audit, Rows]) -> None:
    (guess, *more) = found[1].of("test_audit_flags:Guess")
    assert all("attack-below-floor" in row for row in (guess, *more))
    assert "attack-knows-victims" not in guess
    (honest, *_) = found[1].of("affine map")
    assert not honest & {"attack-below-floor", "attack-knows-victims"}


def test_the_one_who_signs_is_told(found: tuple[Audit, Rows]) -> None:
    told = verdict(found[0]).reservations
    assert any(line.startswith("overlapping-data") for line in told)
