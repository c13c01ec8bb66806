"""Files that pass for policies, made by somebody who wishes their reader ill."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_policy import folder, read_by, written

from cutlayer.errors import ConfigError

__all__ = ["folder"]  # a fixture


def hostile(change: Callable[[str], str | bytes]) -> Any:
    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (hostile(lambda s: "[" * 100_000), "JSON of a policy wanted"),
        (hostile(lambda s: '{"policy":' * 10_000), "JSON of a policy wanted"),
        (hostile(lambda s: s + " " * 200_000), "at most 200,000 bytes wanted"),
        (hostile(lambda s: s.replace('"outputs": 3', '"outputs": 3, "outputs": 4')), "once wanted"),
        (hostile(lambda s: s.replace('"outputs": 3', '"outputs": NaN')), "finite numbers wanted"),
        (hostile(lambda s: s.replace('"outputs": 3', '"outputs": -Infinity')), "finite numbers"),
        (hostile(lambda s: s.replace('"outputs": 3', '"outputs": 1e999')), "finite numbers wanted"),
        (hostile(lambda s: s.replace('"outputs": 3', '"outputs": 3.0')), "altered"),
        (hostile(lambda s: s.replace('"outputs": 3', '"outputs": ' + "9" * 5000)), "JSON of a"),
        (hostile(lambda s: s.replace('"outputs"', '"\\ud800"')), "altered"),
        (hostile(lambda s: s.encode("utf-16")), "JSON of a policy wanted"),
        (hostile(lambda s: b"\xff" + s.encode()), "JSON of a policy wanted"),
        (hostile(lambda s: "[]"), "a file with policy, certificate and signature"),
        (hostile(lambda s: "{}"), "a file with policy, certificate and signature"),
        (hostile(lambda s: s.replace('"signature": "', '"signature": "*')), "as base64 wanted"),
        (hostile(lambda s: s.replace('"signature": "M', '"signature": "N')), "altered"),
        (hostile(lambda s: s.replace("BEGIN CERT", "BEGIN CURT")), "a party's certificate wanted"),
        (hostile(lambda s: s.replace("BEGIN CERT", "BEGIN Ç")), "a certificate as PEM"),
        (hostile(lambda s: json.dumps(json.loads(s) | {"signature": None})), "as text wanted"),
        (hostile(lambda s: json.dumps(json.loads(s) | {"signature": [1]})), "as text wanted"),
        (hostile(lambda s: json.dumps(json.loads(s) | {"policy": None})), "altered"),
        (hostile(lambda s: json.dumps(json.loads(s) | {"also": 1})), "and no more, wanted"),
    ],
)
def test_a_hostile_file_is_refused_in_words(
    change: Callable[[str], str | bytes], said: str, folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "policy.json"
    written(folder, path)
    changed = change(path.read_text())
    path.write_bytes(changed if isinstance(changed, bytes) else changed.encode("utf-8"))
    with pytest.raises(ConfigError) as e:
        read_by(folder, path)
    assert said in str(e.value)
    assert len(str(e.value)) < 2000
