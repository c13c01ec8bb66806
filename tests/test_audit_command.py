"""``cutlayer audit`` as it is typed: two audits compared, the ceiling, the forecast, refusals."""

from dataclasses import replace
from pathlib import Path

import pytest
from audit_made import made, of_answers

from cutlayer.auditing.command import failed
from cutlayer.auditing.result import Audit, to_json
from cutlayer.cli import main
from cutlayer.record import Estimate


def lower(audit: Audit, value: float) -> Audit:
    """The same audit, the recommended configuration leaking that much to everybody."""
    leak = {audit.protect: Estimate(value=value, low=value - 0.001, high=value + 0.001, n=500)}
    changed = tuple(
        replace(c, attacks=tuple(replace(a, leakage=leak) for a in c.attacks))
        if c.key == audit.recommendation.key
        else c
        for c in audit.configurations
    )
    return replace(audit, configurations=changed)


@pytest.fixture
def before(tmp_path: Path) -> Path:
    folder = tmp_path / "before"
    folder.mkdir()
    (folder / "audit.json").write_text(to_json(lower(made(), 0.5)))
    return folder


def compared(before: Path, after: Audit, *more: str) -> int:
    path = before.parent / "after.json"
    path.write_text(to_json(after))
    out = str(before.parent / "out")
    return main(["audit", "--compare", str(before), str(path), "--out", out, *more])


def test_what_became_better_is_said(before: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compared(before, lower(made(), 0.1)) == 0
    said = capsys.readouterr().out
    assert "better" in said
    assert "worse" not in said
    assert f"recommended after: {made().recommendation.key}" in said
    assert (before.parent / "out" / "index.html").is_file()


def test_what_became_worse_is_said(before: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compared(before, lower(made(), 0.9)) == 0
    assert "worse" in capsys.readouterr().out


def test_noise_is_no_change(before: Path, capsys: pytest.CaptureFixture[str]) -> None:
    compared(before, lower(made(), 0.5005))
    said = capsys.readouterr().out
    assert "worse" not in said
    assert "better" not in said


def test_what_is_released_is_compared_as_well(
    before: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (before / "audit.json").write_text(to_json(made(released=of_answers())))
    assert compared(before, made(released=lower(of_answers(), 0.001))) == 0
    said = capsys.readouterr().out
    assert "what is released" in said
    assert "better" in said
    assert "better" in (before.parent / "out" / "released" / "index.html").read_text()


def test_too_much_leakage_fails(before: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compared(before, lower(made(), 0.1), "--fail-on", "0.2") == 0
    assert compared(before, lower(made(), 0.1), "--fail-on", "0.1") == 1  # .101 is possible
    assert "--fail-on 0.1: the leakage may be 0.101" in capsys.readouterr().err


def test_nothing_recommended_fails() -> None:
    audit = made()
    nothing = replace(audit, recommendation=replace(audit.recommendation, key=None))
    assert failed(nothing, 1.0) == 1
    assert failed(nothing, None) == 0


def test_audits_of_other_things_do_not_compare(
    before: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compared(before, replace(made(), protect="pixels")) == 2
    assert "two audits that protect the same wanted" in capsys.readouterr().err
    assert compared(before, of_answers()) == 2
    assert "got one of cuts and what is released" in capsys.readouterr().err
    assert main(["audit", "--compare", str(before), str(before / "none")]) == 2
    assert "an audit wanted" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["lenett"], "did you mean 'lenet'?"),
        (["--protect", "faces"], "'faces': unknown"),
        (["--threat", "white"], "threat 'white': unknown"),
        (["--defence", "noise"], "defence 'noise'"),
        (["--leakage", "2"], "leakage: a number from 0 to 1 wanted, got 2.0"),
        (["--owner-flops", "some"], "owner_flops: a number wanted, got 'some'"),
        (["--workers", "0"], "--workers: at least 1 wanted, got 0"),
        (["--cut", "nowhere"], "cut 'nowhere'"),
    ],
)
def test_what_cannot_be_asked_is_refused(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["audit", *words, "--data", "digits", "--epochs", "1", "--budget", "0"]
    where = ["--store", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]
    assert main([*asked, *where]) == 2
    assert said in capsys.readouterr().err


def test_a_dry_run_says_how_long_and_runs_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["audit", "mlp", "--data", "digits", "--epochs", "1", "--cut", "act1", "--dry-run"]
    assert main([*asked, "--store", str(tmp_path / "runs")]) == 0
    said = capsys.readouterr().out
    assert "would run" in said
    assert "memory: about" in said
    assert not (tmp_path / "runs").exists()
