"""What is concluded about what makes a network leak: by rules, from whatever has been run."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from cutlayer.attacks import ATTACKS
from cutlayer.papers.drawing import svg
from cutlayer.papers.findings import SCHEMA_VERSION, Findings
from cutlayer.papers.he2019 import summary as tables_summary
from cutlayer.papers.he2019.applicability import TABLE_7, accepts, table_7
from cutlayer.papers.he2019.comparison import attack
from cutlayer.papers.he2019.cuts import EVERY_CUT, cut_key
from cutlayer.papers.he2019.factors import FACTORS, variants
from cutlayer.papers.he2019.guidelines import (
    BEGIN,
    RULES,
    chance,
    guidelines,
    leaks_less,
    rank_correlation,
    summary,
)
from cutlayer.papers.he2019.leaking import leaking_tables, of_factor
from cutlayer.papers.he2019.maker import ALONG
from cutlayer.papers.he2019.paper import PAPER
from cutlayer.papers.markdown import END
from cutlayer.threat import THREATS

ROOT = Path(__file__).parents[1]
Ssim = Callable[[str], float]  # by the key of the finding


def keep(folder: Path, key: str, found: Mapping[str, Any]) -> None:
    path = folder / f"{key}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"schema_version": SCHEMA_VERSION, "key": key, "found": found, "address": ""}
    path.write_text(json.dumps(content))


def attacked(ssim: float, message: tuple[int, ...]) -> dict[str, Any]:
    def estimate(value: float, within: float = 0.01) -> dict[str, float]:
        return {"value": value, "low": value - within, "high": value + within, "n": 200}

    record = {
        "leakage": {"ssim": estimate(ssim), "psnr": estimate(20 * ssim), "read": estimate(0.5)},
        "utility": {"accuracy": estimate(0.97)},
        "floors": {"mean": {"ssim": estimate(0.3)}},
        "flags": ["small-n"],
        "attack": {},
        "data": {"message_shape": list(message)},
    }
    ten = {"psnr": 9.0, "ssim": ssim, "ssim_as_published": ssim}
    return {"record": record, "ten": ten, "ssim_as_published": ssim}


def made_up(folder: Path, ssim: Ssim, *, only: str = "") -> Findings:
    """Findings of every cut and variant; of LeNet, deeper cuts send less."""
    for v in variants():
        keep(folder, v.network_key, {"accuracy_on_test": {"value": 0.97, "n": 10_000}})
        for threat in ALONG:
            if only in v.key(threat):
                size = int(v.value) if v.factor == "fully-connected" and v.value != "none" else 392
                keep(folder, v.key(threat), attacked(ssim(v.key(threat)), (size,)))
    for data, cuts in EVERY_CUT.items():
        for cut in cuts:
            for threat in ALONG:
                key = cut_key(data, cut, threat)
                if only in key:
                    keep(folder, key, attacked(ssim(key), (8, 12, 12)))
    return Findings(folder)


def verdicts(findings: Findings) -> dict[str, str]:
    return {g.text: g.verdict for g in guidelines(findings)}


# The rules


def test_all_that_is_alike_is_undecided(tmp_path: Path) -> None:
    found = verdicts(made_up(tmp_path, lambda key: 0.8))
    assert found.pop("Keep at least one fully connected layer on the edge (theirs; LeNet).") == (
        "refuted"
    )
    assert found.pop("Keep at least one fully connected layer on the edge (theirs; CIFAR10CNN).")
    assert found.pop("Send a small message.") == "refuted"
    hides = [k for k in found if k.startswith("Cut behind")]
    assert {found.pop(k) for k in hides} == {"refuted"}
    assert set(found.values()) == {"undecided"}


def test_a_lower_ssim_confirms_and_a_higher_refutes(tmp_path: Path) -> None:
    def ssim(key: str) -> float:
        return 0.3 if "tanh" in key else 0.9 if "sigmoid" in key else 0.6

    found = verdicts(made_up(tmp_path, ssim))
    assert found["Prefer tanh to ReLU."] == "confirmed"
    assert found["Prefer sigmoid to ReLU."] == "refuted"
    assert found["Prefer ReLU to leaky ReLU."] == "undecided"


def test_the_attacker_who_gets_most_counts(tmp_path: Path) -> None:
    def ssim(key: str) -> float:
        if "tanh" in key:
            return 0.9 if key.endswith("black-box") else 0.1
        return 0.6

    findings = made_up(tmp_path, ssim)
    assert verdicts(findings)["Prefer tanh to ReLU."] == "refuted"
    (tanh,) = [p for p in of_factor(findings, "activation") if p.label == "tanh"]
    assert tanh.worst == "black-box"
    said = next(g for g in guidelines(findings) if g.text == "Prefer tanh to ReLU.")
    assert "white-box 0.10 and 0.60, black-box 0.90 and 0.60" in said.sentence
    assert f"{tanh.keys['query-free']}" in said.records
    assert len(said.records) == 6


def test_what_chance_does_decides_nothing(tmp_path: Path) -> None:
    def ssim(key: str) -> float:
        return 0.9 if "seed-2" in key else 0.5 if "tanh" in key else 0.7

    findings = made_up(tmp_path, ssim)
    assert chance(findings) == pytest.approx(0.2)
    assert verdicts(findings)["Prefer tanh to ReLU."] == "undecided"


def test_leaks_less_wants_intervals_apart_and_more_than_chance(tmp_path: Path) -> None:
    for key, ssim in (("a/b/low", 0.5), ("a/b/near", 0.515), ("a/b/high", 0.6)):
        keep(tmp_path, key, attacked(ssim, (3,)))
    low, near, high = (attack(Findings(tmp_path), f"a/b/{k}") for k in ("low", "near", "high"))
    assert low is not None
    assert near is not None
    assert high is not None
    assert leaks_less(low, high, 0.05) is True
    assert leaks_less(high, low, 0.05) is False
    assert leaks_less(low, high, 0.2) is None
    assert leaks_less(low, near, 0.0) is None


def test_their_guideline_goes_by_their_limit(tmp_path: Path) -> None:
    def ssim(key: str) -> float:
        return 0.25 if "fc1" in key else 0.7

    found = verdicts(made_up(tmp_path, ssim))
    theirs = "Keep at least one fully connected layer on the edge"
    assert found[f"{theirs} (theirs; LeNet)."] == "confirmed"
    keep(tmp_path, "mnist/cuts/fc1-black-box", attacked(0.31, (120,)))
    assert verdicts(Findings(tmp_path))[f"{theirs} (theirs; LeNet)."] == "refuted"
    assert found[f"{theirs} (theirs; CIFAR10CNN)."] == "confirmed"


def test_deeper_means_at_every_step(tmp_path: Path) -> None:
    stages = ["conv1", "pool1", "pool2", "fc1", "fc2"]

    def falling(key: str) -> float:
        cut = next((s for s in reversed(stages) if f"/{s}" in key), "conv1")
        return 0.9 - 0.15 * stages.index(cut)

    assert verdicts(made_up(tmp_path, falling))["Cut deeper (LeNet)."] == "confirmed"
    for threat in ALONG:
        keep(tmp_path, cut_key("mnist", "pool2", threat), attacked(0.95, (3,)))
    assert verdicts(Findings(tmp_path))["Cut deeper (LeNet)."] == "refuted"


def test_a_listener_gets_less(tmp_path: Path) -> None:
    def ssim(key: str) -> float:
        return 0.3 if "query-free" in key or "/layers/" in key else 0.7

    keeping = "Keep the owner's layers secret, and answer no strangers."
    findings = made_up(tmp_path, ssim)
    assert verdicts(findings)[keeping] == "confirmed"
    (said,) = [g for g in guidelines(findings) if g.text == keeping]
    assert "at 27 of 27 cuts" in said.sentence
    keep(tmp_path, "mnist/layers/fc2", attacked(0.9, (84,)))
    assert verdicts(Findings(tmp_path))[keeping] == "refuted"


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=3, max_size=12))
def test_rank_correlation_is_spearmans(pairs: list[tuple[int, int]]) -> None:
    a, b = ([float(p[i]) for p in pairs] for i in (0, 1))
    if len({*a}) == 1 or len({*b}) == 1:
        assert rank_correlation(a, b) == 0
    else:
        assert rank_correlation(a, b) == pytest.approx(spearmanr(a, b).statistic, abs=1e-9)


# What has not been run


def test_without_findings_every_guideline_waits(tmp_path: Path) -> None:
    assert {g.verdict for g in guidelines(Findings(tmp_path))} == {"not run yet"}
    text = summary(tmp_path)
    assert f"{len(RULES)} of {len(RULES)} have not been run yet." in text
    assert "Waits for `mnist/" in text


def test_half_a_run_decides_what_it_can(tmp_path: Path) -> None:
    found = verdicts(made_up(tmp_path, lambda key: 0.8, only="mnist/"))
    waiting = [k for k, v in found.items() if v == "not run yet"]
    assert sorted(waiting) == [
        "Cut deeper (CIFAR10CNN).",
        "Keep at least one fully connected layer on the edge (theirs; CIFAR10CNN).",
    ]


# Tables and charts


def test_table_7_is_the_papers() -> None:
    table = table_7()
    marks = {line.cells[0].text: line.cells[1:] for line in table.lines}
    assert list(marks) == [*TABLE_7, *(t for t in THREATS if t not in TABLE_7)]
    for threat, theirs in TABLE_7.items():
        by_attack = dict(zip(ATTACKS, marks[threat], strict=True))
        for kind, mark in theirs.items():
            assert by_attack[kind].raw == (mark, mark)
            assert by_attack[kind].mark == ""


def test_table_7_asks_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    assert accepts("query-free", "shadow")
    monkeypatch.setattr(ATTACKS["inverse-network"], "needs", frozenset({"owner_segment"}))
    assert not accepts("black-box", "inverse-network")
    (black,) = [line for line in table_7().lines if line.cells[0].text == "black-box"]
    cell = black.cells[1 + list(ATTACKS).index("inverse-network")]
    assert (cell.text, cell.mark) == ("✗ (✓)", "off")


def test_tables_have_every_cut_and_variant(tmp_path: Path) -> None:
    findings = made_up(tmp_path, lambda key: 0.9 if key.endswith("black-box") else 0.5)
    _, cuts, factors = leaking_tables(findings)
    assert [len(s.lines) for s in cuts.sheets] == [10, 17]
    assert sum(len(s.lines) for s in factors.sheets) == len(variants())
    for sheet in (*cuts.sheets, *factors.sheets):
        assert not sheet.missing
        assert sheet.csv().count("\n") == len(sheet.lines) + 1
        for line in sheet.lines:
            worst = [c.raw[0] for c in line.cells if c.mark == "worst"]
            assert worst in ([0.9], [0.5])
    names = [c.name for t in (cuts, factors) for c in t.charts]
    factor_charts = [f"factor-{f}-chart" for f in (*FACTORS, "size")]
    assert names == ["cuts-mnist-chart", "cuts-cifar10-chart", *factor_charts]
    for chart in (*cuts.charts, *factors.charts):
        assert not chart.missing
        assert "<svg" in svg(chart.views[0])


def test_tables_say_what_is_missing(tmp_path: Path) -> None:
    findings = made_up(tmp_path, lambda key: 0.8, only="white-box")
    _, cuts, factors = leaking_tables(findings)
    assert [s.missing for s in cuts.sheets] == [10, 17]
    assert all(c.missing or "size" in c.name for c in (*cuts.charts, *factors.charts))
    assert all(cell.mark != "worst" for line in cuts.sheets[0].lines for cell in line.cells)


# The page in the documentation


def test_the_guidelines_in_the_docs_are_those_of_the_records(tmp_path: Path) -> None:
    page = tmp_path / "guidelines.md"
    page.write_text((ROOT / "docs/guidelines.md").read_text())
    PAPER.write_summary(ROOT / "results/he2019", page)
    assert page.read_text() == (ROOT / "docs/guidelines.md").read_text()


def test_a_page_gets_what_its_marker_asks_for(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    PAPER.write_summary(tmp_path, page)
    assert page.read_text() == f"before\n{summary(tmp_path)}after\n"
    page.write_text(f"{tables_summary.BEGIN}\n{END}\n")
    PAPER.write_summary(tmp_path, page)
    assert page.read_text() == tables_summary.summary(tmp_path)
