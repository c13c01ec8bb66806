"""A short run of ``tests/fuzz.py``, and that it would see what it looks for."""

import fuzz
import pytest
import torch

from cutlayer.wire import service as served
from cutlayer.wire.identity import Identity
from cutlayer.wire.members import Members


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "HOLD", served.HOLD)  # which the fuzzer makes short


def test_wrong_messages_change_nothing_for_an_honest_owner() -> None:
    found = fuzz.fuzz(2000)
    assert not found.faults, found.faults[:3]
    assert {"REFUSED", "OUTPUT", "OUT", "BEHIND"} <= found.replies.keys()
    assert found.replies["REFUSED"] > 1000


def test_who_may_speak_for_others_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def anybody(members: Members, party: Identity, claimed: int) -> int:
        return claimed

    monkeypatch.setattr(Members, "number_of", anybody)
    monkeypatch.setattr(fuzz, "comes_back", lambda data: False)
    assert fuzz.fuzz(2000).faults


def test_what_escapes_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*of: object) -> torch.Tensor:
        raise SystemError("broken")

    monkeypatch.setattr(served.Service, "predicted", breaks)
    assert any("escaped" in fault for fault in fuzz.fuzz(200).faults)
