"""The page of the 2021 reproduction: what it must say with all, some and none of the findings."""

import base64
import csv
import hashlib
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from titcombe_findings import PLACE, attack, classifier, folder, keep

from cutlayer.papers.claims import Claim, verdict
from cutlayer.papers.findings import Findings
from cutlayer.papers.paper import Options
from cutlayer.papers.tables import difference, value
from cutlayer.papers.titcombe2021.charts import class_and_individual, every_chart, front
from cutlayer.papers.titcombe2021.elsewhere import claims_elsewhere
from cutlayer.papers.titcombe2021.page import collect, render, write_page
from cutlayer.papers.titcombe2021.pictures import figure_1, figure_2a, headline
from cutlayer.papers.titcombe2021.published import FIGURE_4
from cutlayer.papers.titcombe2021.settings import NAMES
from cutlayer.papers.titcombe2021.summary import BEGIN, END, summary
from cutlayer.papers.titcombe2021.tables_leaks import grid, pairs, worst
from cutlayer.papers.titcombe2021.tables_made import progress, seconds
from cutlayer.papers.titcombe2021.tables_published import attacks, table
from cutlayer.papers.titcombe2021.tasks import (
    attack_key,
    classifier_key,
    published_key,
    tasks,
)
from cutlayer.papers.titcombe2021.words import COMMAND

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
ALL = len(tasks(NAMES, Options()))
PAPER = len(tasks(("paper",), Options()))
QUICK = len(tasks(("authors-code",), Options(quick=True)))
SECTIONS = (
    "0. What this is",
    "1. In one picture: is it destroyed?",
    "2. What the paper claims, and what came of it",
    "3. Table 1: what the defences cost",
    "4. The attack, and what is left",
    "5. Figures 1 to 4",
    "6. What the text proposes, and the paper did not measure",
    "7. What the paper could not see Privacy",
    "8. How it was made",
)


class Page(HTMLParser):
    """Elements and the text in them, scripts and styles left out."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.parts: list[str] = []
        self.inside = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside = tag

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside not in ("script", "style"):
            self.parts.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"[ \n]+", " ", " ".join(self.parts))  # narrow spaces stay

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def written(results: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_page(results, tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def page(written: Path) -> Page:
    return Page(written.read_text())


def unstyled(results: Path) -> Page:
    """The page without its PNG files, which take most of the time."""
    return Page(render(collect(Findings(results), NAMES), {}))


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text())))


def found(results: Path, key: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((results / f"{key}.json").read_text())["found"]
    return content


def test_every_section_is_there_in_order(page: Page) -> None:
    places = [page.text.index(head) for head in SECTIONS]
    assert places == sorted(places)
    anchors = {a["id"] for a in page.all("section")}
    links = [str(a["href"]) for a in page.all("a") if str(a.get("href")).startswith("#")]
    assert len(links) >= len(SECTIONS)
    ids = {a.get("id") for _, a in page.tags}
    assert all(link[1:] in ids for link in links)
    assert {link[1:] for link in links[: len(SECTIONS)]} == anchors


def test_numbers_printed_are_those_of_the_findings(page: Page, results: Path) -> None:
    base = found(results, classifier_key(PLACE, 0.0, 0.0))
    assert f"{100 * base['accuracy']['value']:.2f}" in page.text  # 98.11
    assert f"{base['dependence']['published']['mean']:.3f}" in page.text  # 0.812
    assert f"{base['dependence']['floor']['mean']:.3f}" in page.text
    assert f"{base['dependence']['bias_corrected']:.3f}" in page.text
    assert "+0.03" in page.text  # 98.11 less 98.08
    assert "spread 0.20" in page.text  # 98.11 and 97.91
    for key, case in (
        (published_key(PLACE, 0.0, 0.0), "laplace-1"),
        (attack_key(PLACE, 0.0, 0.0, served="laplace-1"), ""),
        (attack_key(PLACE, 0.0, 0.0, served="laplace-1", heard=16), ""),
    ):
        content = found(results, key)
        leaked = (content["served"][case] if case else content)["record"]["leakage"]
        assert f"{leaked['ssim']['value']:.3f}" in page.text
        assert f"{100 * leaked['read']['value']:.1f}\u202f%" in page.text
        low, high = leaked["ssim"]["low"], leaked["ssim"]["high"]
        assert f"{low:.3f} … {high:.3f}" in page.text
    for floor in ("0.111", "0.287", "0.432", "9.8\u202f%"):
        assert floor in page.text
    assert "95.17" in page.text  # read by the validator
    assert "At noise 1.0 the judge reads 31.3\u202f% of the pictures of the paper's" in page.text


def test_csv_files_hold_what_the_findings_hold(written: Path, results: Path) -> None:
    beside = written.parent
    line = next(
        r
        for r in rows(beside / "table-1-authors-code.csv")
        if (r["noise"], r["weight"]) == ("0.0", "0.5")
    )
    ours = found(results, classifier_key(PLACE, 0.0, 0.5))
    assert float(line["accuracy"]) == 100 * ours["accuracy"]["value"]
    assert float(line["accuracy_published"]) == 97.80
    assert float(line["dependence"]) == ours["dependence"]["published"]["mean"]
    assert float(line["error"]) == ours["dependence"]["published"]["error"]
    assert float(line["error_published"]) == 0.003
    assert float(line["honest"]) == ours["dependence"]["bias_corrected"]
    assert line["n"] == "2000"
    leaked = [r for r in rows(beside / "grid.csv") if "16" in r["attacker"]]
    scores = found(results, attack_key(PLACE, 0.0, 0.0, served="laplace-1", heard=16))
    assert [r["configuration"] for r in leaked] == ["noise 1 after training"]
    for name in ("ssim", "read", "top1", "top1_in_class"):
        wanted = scores["record"]["leakage"][name]
        got = [leaked[0][name], leaked[0][f"{name}_low"], leaked[0][f"{name}_high"]]
        assert got == [str(wanted[k]) for k in ("value", "low", "high")]
    assert leaked[0]["ssim_floor"] == "0.432"
    drawn = rows(beside / "figure-4.csv")
    assert {(r["x"], r["y"]) for r in drawn if r["series"] == "NoPeek 0.5, paper"} >= {
        ("2.0", "33.82")
    }
    assert {r["verdict"] for r in rows(beside / "claims.csv")} <= {
        "reproduced", "refuted", "in part", "not run"
    }  # fmt: skip


def test_each_chart_and_gallery_lies_beside_as_png(written: Path, results: Path) -> None:
    content = collect(Findings(results), NAMES)
    names = {*content["charts"], "headline", "figure-1", "figure-2a-theirs", "figure-3-ours"}
    for name in names:
        data = (written.parent / f"{name}.png").read_bytes()
        assert data.startswith(b"\x89PNG")
        assert min(Image.open(io.BytesIO(data)).size) > 100
    assert {f"{name}.csv" for name in content["charts"]} <= {
        p.name for p in written.parent.iterdir()
    }


def test_the_page_fetches_nothing_and_runs_only_its_own_scripts(written: Path, page: Page) -> None:
    text = written.read_text()
    assert len(text.encode()) < 8_000_000
    for _tag, attributes in page.tags:
        for name in ("src", "href", "srcset", "action", "data"):
            assert (attributes.get(name) or "#").startswith(("#", "data:")), attributes
        assert not any(name.startswith("on") for name in attributes)
    policy = str(next(m["content"] for m in page.all("meta") if "http-equiv" in m))
    assert policy.startswith("default-src 'none'")
    scripts = re.findall(r"<script>(.*?)</script>", text, re.S)
    assert len(scripts) == 2
    for script in scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert not re.search(r"url\((?!data:)|@import", text[: text.index("</style>")])


def test_what_comes_from_a_finding_is_text_never_markup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cutlayer.papers.titcombe2021 import page as module

    hostile = [Claim(HOSTILE, HOSTILE, HOSTILE)]  # type: ignore[arg-type]
    key = attack_key(PLACE, 0.0, 0.0)
    keep(tmp_path, key, attack(0.8, 0.9, 0.5))
    plain = unstyled(tmp_path)
    keep(tmp_path, key, attack(0.8, 0.9, 0.5, flags=[HOSTILE]), environment={HOSTILE: HOSTILE})
    monkeypatch.setattr(module, "claims", lambda _: hostile)
    shown = unstyled(tmp_path)
    assert len(shown.all("script")) == len(plain.all("script"))
    assert not any("onerror" in a for _, a in shown.tags)
    assert shown.text.count(HOSTILE) >= 5  # claim, flag, machine: shown as they are


def test_an_empty_folder_makes_a_page_that_says_so(tmp_path: Path) -> None:
    shown = unstyled(tmp_path)
    places = [shown.text.index(head) for head in SECTIONS]
    parts = [shown.text[a:b] for a, b in zip(places, [*places[1:], None], strict=True)]
    for head, part in zip(SECTIONS, parts, strict=True):
        assert COMMAND in part, head
        assert re.search(f"not run yet|Not run yet|0 of {ALL}", part), head
    assert "Nothing is decided yet: all 12 claims" in parts[0]
    assert f"0 of {ALL} tasks have been run" in parts[0]
    assert "98.08" in parts[3]  # the published numbers stand there anyway
    assert not shown.all("img")
    assert "open: EMNIST is not here" in parts[5]
    assert not re.search(r"\b(None|nan|NaN|inf)\b", shown.text)


def test_null_and_what_is_missing_are_never_numbers(page: Page) -> None:
    assert not re.search(r"\b(None|nan|NaN|inf)\b", page.text)
    assert "Not run yet: 12 of 14 rows of this table" in page.text
    assert "the same, averaging 256 messages not run yet" in page.text


def test_mislabelled_rows_stand_beside_the_weight_they_belong_to(results: Path) -> None:
    lines = table(Findings(results), "authors-code").lines
    notes = {(c.cells[0].text, c.cells[1].text): c.note for c in lines}
    assert notes["0", "0.5"].startswith("printed as weight 0.2: the result files have")
    assert notes["0", "1"].startswith("printed as weight 0.5")
    assert notes["0", "0.2"] == "no such row was published"
    assert "95.20 (dependence 0.556)" in notes["0.5", "0.5"]


@pytest.mark.parametrize(
    ("apart", "mark", "text"),
    [(0.6, "", "+0.60"), (-0.61, "off", "−0.61"), (None, "null", "–")],
)
def test_differences_are_marked_beyond_the_tolerance(
    apart: float | None, mark: str, text: str
) -> None:
    shown = difference(apart, 2, limit=0.6)
    assert (shown.mark, shown.text) == (mark, text)


def test_rows_beyond_the_tolerance_are_marked_on_the_page(results: Path, page: Page) -> None:
    lines = {c.cells[1].text: c for c in table(Findings(results), "authors-code").lines[:3]}
    assert [c.mark for c in lines["0"].cells].count("off") == 0  # +0.03 points, −0.003
    assert [c.mark for c in lines["0.5"].cells].count("off") == 2  # −1.26 points, +0.098
    marked = [a for a in page.all("td") if "off" in str(a.get("class")).split()]
    assert marked
    assert all(a["title"] for a in marked)


def test_what_does_not_exist_differs_from_what_waits() -> None:
    assert (value(None, 2).text, value(None, 2).mark) == ("–", "null")
    assert (value(None, 2, ran=False).text, value(None, 2, ran=False).mark) == (
        "not run yet", "missing"
    )  # fmt: skip


def test_the_attack_table_has_the_paper_beside_ours(results: Path) -> None:
    first = attacks(Findings(results)).lines[0].cells
    assert [c.text for c in first[2:7]] == ["0.946", "0.931", "−0.015", "0.251", "0.823"]
    assert [c.text for c in first[7:]] == ["95.62", "95.17", "−0.45", "92.61"]


def _pixels(uri: str) -> np.ndarray:
    data = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
    return np.asarray(Image.open(io.BytesIO(data)))


def test_pictures_are_the_rows_of_the_strips(results: Path) -> None:
    gallery = headline(Findings(results))
    names = ["published/noise-0-weight-0-laplace-1", "adaptive/noise-0-weight-0-served-laplace-1"]
    strips = [np.asarray(Image.open(results / PLACE / f"{n}.png")) for n in names]
    assert (_pixels(gallery.rows[0].uri) == strips[0][:28]).all()
    assert (_pixels(gallery.rows[1].uri) == strips[0][28:]).all()
    assert (_pixels(gallery.rows[2].uri) == strips[1][28:]).all()
    cells = gallery.rows[1].cells
    assert len(cells) == 10
    assert (_pixels(cells[3]) == strips[0][28:, 84:112]).all()


def test_figure_2_has_the_columns_of_the_paper_for_both_attackers(results: Path) -> None:
    theirs, ours = figure_2a(Findings(results))
    assert [r.short for r in theirs.rows] == ["true", "0.0", "0.1", "0.5", "1.0"]
    assert [bool(r.uri) for r in theirs.rows] == [True, True, False, True, True]
    assert [r.under for r in theirs.rows] == ["", "93%", "", "61%", "31%"]
    assert [bool(r.uri) for r in ours.rows] == [True, True, False, False, True]


def test_pictures_other_than_grey_squares_of_28_are_cut_too(tmp_path: Path) -> None:
    key = attack_key(PLACE, 0.0, 0.0, served="laplace-1")
    keep(tmp_path, key, attack(0.5, 0.5, 0.5))
    Image.fromarray(np.zeros((64, 96, 3), np.uint8)).save(tmp_path / f"{key}.png")
    row = headline(Findings(tmp_path)).rows[2]
    assert [_pixels(c).shape for c in row.cells] == [(32, 32, 3)] * 3


def test_an_attack_without_pictures_keeps_its_numbers(tmp_path: Path) -> None:
    keep(tmp_path, attack_key(PLACE, 0.0, 0.0), attack(0.8123, 0.9, 0.5))
    row = next(r for r in figure_1(Findings(tmp_path)).rows if r.label.endswith("our attacker"))
    assert (row.missing, row.numbers[0].text) == ("no picture was kept", "0.812")


def test_the_strongest_attacker_is_marked_and_unknown_until_it_was_tried(results: Path) -> None:
    findings = Findings(results)
    table = grid(findings)
    lines = [[cell for _, cell in table.printed(line)] for line in table.lines]
    by_attacker = {cells[0].text: cells for cells in lines if cells[2].text in ("0.214", "0.712")}
    marks = {name: cells[2].mark for name, cells in by_attacker.items()}
    assert marks["the same, averaging 16 messages"] == "worst"
    assert marks["the paper's, which never saw noise"] == ""
    worst_case = {r["configuration"]: r for r in csv.DictReader(io.StringIO(worst(findings).csv()))}
    assert worst_case["noise 1 after training"]["ssim"] == "0.7123"
    assert worst_case["noise 1 after training"]["ssim_by"] == "the same, averaging 16 messages"
    assert worst_case["noise 0.5 after training"]["ssim"] == ""
    weak = next(i for i, cells in enumerate(lines) if cells[2].text == "0.314")
    assert lines[weak - 1][2].text == "not run yet"  # a properly trained one on the same
    assert lines[weak][2].mark == ""


def test_charts_show_what_was_run_and_name_what_was_not(results: Path) -> None:
    findings = Findings(results)
    charts = every_chart(findings, NAMES)
    curves = {s.label: s for s in charts["figure-4"].views[0].series}
    assert (curves["NoPeek 0, paper"].line, curves["NoPeek 0, ours"].line) == ("dash", "solid")
    assert list(curves["NoPeek 0.5, paper"].y) == list(FIGURE_4[0.5])
    assert curves["NoPeek 0, ours"].y[0] == pytest.approx(98.111)
    assert curves["NoPeek 0, another seed"].width < 1
    assert "NoPeek 0.1 (as the authors' code did it)" in charts["figure-4"].missing
    size = {s.label: s for s in charts["figure-3-curve"].views[0].series}
    assert list(size["our attacker"].x) == [250, 5000]
    assert list(size["our attacker"].low) == [0.6012 - 0.011, 0.8654 - 0.011]
    assert "our attacker with 100, 500" in charts["figure-3-curve"].missing
    rounds = {s.label: s for s in charts["rounds"].views[0].series}
    assert list(rounds["attacker fitted to the last epoch"].x) == [1, 2]
    points = {
        (x, y) for s in front(findings).views[0].series for x, y in zip(s.x, s.y, strict=True)
    }
    assert (97.25, 0.7123) in points  # the strongest, not the only one
    assert not any(y == 0.3143 for _, y in points)  # only a weak attacker was tried
    assert "noise 0.5 after training" in front(findings).missing


def test_class_and_individual_are_the_axes_of_the_central_claim(results: Path) -> None:
    findings = Findings(results)
    view = class_and_individual(findings).views[0]
    points = {s.label: (s.x[0], s.y[0]) for s in view.series}
    assert points == {
        "undefended": (0.9713, 0.6543),
        "noise after training": (0.9456, 0.2987),
        "noise in training and after": (0.9534, 0.4432),
        "NoPeek": (0.9687, 0.3876),
    }
    nearest = [(a.words, b.words) for a, b in pairs(findings)]  # 96.5, 97.3 and 90.1 % right
    assert nearest == [("NoPeek 0.5", "noise 1 after training")]


def test_scripts_get_the_charts_as_data(written: Path) -> None:
    blocks = re.findall(
        r'<script type="application/json">(.*?)</script>', written.read_text(), re.S
    )
    views = [json.loads(b) for b in blocks]
    assert len(views) == 5
    assert [v["label"] for v in views[-1]] == [
        "SSIM", "class read by the judge", "individual found within its class"
    ]  # fmt: skip


def test_a_signal_has_no_ssim_column(page: Page, results: Path) -> None:
    other = collect(Findings(results), NAMES)["other"]
    assert "SSIM" not in [c.label for c in other["ecg"].columns]
    assert "SSIM" in [c.label for c in other["fashion-mnist"].columns]
    assert "fashion-mnist: what the strongest attacker makes of it" in page.text
    assert "Not run yet: cifar10" in page.text


def test_progress_counts_tasks_and_knows_a_smoke_run(results: Path, tmp_path: Path) -> None:
    both, one = (progress(Findings(results), s) for s in (NAMES, NAMES[:1]))
    assert (both.done, both.planned, both.further, both.quick) == (14, ALL, 2, False)
    assert (one.done, one.planned, one.further) == (13, ALL - PAPER, 2)
    raw = classifier(0.9, 0.9) | {"record": {"data": {"name": "digits"}}}
    keep(tmp_path, classifier_key(PLACE, 0.0, 0.0), raw)
    quick = progress(Findings(tmp_path), NAMES[:1])
    assert (quick.done, quick.planned, quick.quick) == (1, QUICK, True)
    shown = unstyled(tmp_path)
    assert "A smoke run on small digits" in shown.text


def test_times_add_up_by_kind(results: Path) -> None:
    lines = [[c.text for c in line.cells] for line in seconds(Findings(results)).lines]
    assert ["authors-code", "classifiers", "3", "6.0 min", "4.5 min", "2.0 min", "2.0 min"] in lines
    assert lines[-1][:3] == ["all", "", "16"]


def test_the_verdict_counts_the_claims() -> None:
    claims = [Claim("a", "reproduced", ""), Claim("b", "refuted", ""), Claim("c", "in part", "")]
    assert verdict(claims) == (
        "Of 3 claims of the paper, 1 could be reproduced, 1 holds in part and 1 does not hold."
    )
    assert verdict([*claims[:1], Claim("d", "not run", "")]) == (
        "Of 2 claims of the paper, 1 could be reproduced and 1 still waits for its runs."
    )


def test_the_summary_is_a_table_between_markers(results: Path, tmp_path: Path) -> None:
    text = summary(results)
    assert text.startswith(BEGIN)
    assert text.endswith(f"{END}\n")
    assert "| 0 | 0 | 98.08 | 98.11 | 0.815 ± 0.004 | 0.812 ± 0.004 | 0.345 | 0.612 |" in text
    assert "| 0 | 0.1 | 98.04 | not run yet | 0.472 ± 0.004 | not run yet | – | – |" in text
    assert "| the paper's, which never saw noise | 0.214 | 0.432 | 31.3% | 3.1% |" in text
    assert text.count("\n| ") >= 14 + 4 + 12
    widths = {line.count(" | ") for line in text.splitlines() if line.startswith("| 0")}
    assert widths == {7}
    assert "not run" in summary(tmp_path)


def test_only_the_settings_asked_for_are_shown(results: Path) -> None:
    shown = collect(Findings(results), ("paper",))
    assert [name for name, _ in shown["table_1"]] == ["paper"]
    assert shown["further"] == []
    assert [v.label for v in shown["charts"]["figure-4"].views] == ["as the text says"]


def test_claims_elsewhere_wait_for_their_runs_and_go_by_their_rules(tmp_path: Path) -> None:
    assert {c.verdict for c in claims_elsewhere(Findings(tmp_path))} == {"not run"}
    for noise, weight, served, read, person, accuracy in (
        (0.0, 0.0, "as-trained", 0.9, 0.9, 0.95),
        (0.0, 0.1, "as-trained", 0.9, 0.5, 0.95),
        (0.0, 0.5, "as-trained", 0.7, 0.3, 0.945),
        (0.5, 0.0, "as-trained", 0.9, 0.8, 0.95),
        (0.5, 0.1, "as-trained", 0.9, 0.8, 0.95),
        (0.5, 0.5, "as-trained", 0.9, 0.8, 0.93),
        (0.0, 0.0, "laplace-0.5", 0.88, 0.2, 0.94),
        (0.0, 0.1, "laplace-0.5", 0.8, 0.2, 0.90),
        (0.0, 0.5, "laplace-0.5", 0.8, 0.2, 0.80),
        (0.0, 0.0, "laplace-1", 0.4, 0.2, 0.80),
    ):
        key = attack_key("ecg", noise, weight, served=served)
        keep(tmp_path, key, attack(None, read, person, accuracy=accuracy))
    found = {c.text: c.verdict for c in claims_elsewhere(Findings(tmp_path)) if "ECG" in c.text}
    assert list(found.values()) == ["in part", "reproduced", "in part", "reproduced", "reproduced"]
