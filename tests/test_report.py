"""The report: what it must say, and what it must never do."""

import csv
import io
import json
import re
import shlex
import struct
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from report_runs import (
    DIGITS,
    answered,
    api_runs,
    attack_record,
    digit_runs,
    other_runs,
    plain_experiment,
    spread,
    train_record,
)

from cutlayer import report
from cutlayer.checks import FLAGS
from cutlayer.config import FIELDS, Experiment
from cutlayer.metrics import METRICS
from cutlayer.record import Estimate, Record, from_json, to_json
from cutlayer.report import reading
from cutlayer.report.page import render
from cutlayer.report.pictures import pixels
from cutlayer.report.reading import worst

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"


class Page(HTMLParser):
    """Elements and the text in them, as a browser would find them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text())))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Page]:
    records, samples = digit_runs()
    path = report.write([train_record(), *records], samples, tmp_path_factory.mktemp("report"))
    return path, Page(path.read_text())


def test_csv_files_hold_what_the_records_hold(page: tuple[Path, Page]) -> None:
    records, _ = digit_runs()
    found = {
        (r["run"], r["metric"]): [r[k] for k in ("value", "low", "high", "n", "worst")]
        for r in rows(page[0].parent / "leakage.csv")
    }
    wanted = {
        (r.id, name): ["" if v is None else str(v) for v in (e.value, e.low, e.high, e.n, e.worst)]
        for r in records
        for name, e in r.leakage.items()
    }
    assert found == wanted
    floors = rows(page[0].parent / "floors.csv")
    assert {(r["floor"], r["value"]) for r in floors if r["metric"] == "ssim"} >= {
        ("mean", "0.112"), ("class-mean", "0.287")
    }  # fmt: skip


def test_command_line_parses_back_to_the_same_experiment() -> None:
    """What the page tells a reader to type is the experiment that ran."""
    changes: dict[str, Any] = {
        "defence": ["laplace:scale=0.123456789", "nopeek:weight=0.5,exponent=2"],
        "data": "arrays:path=my file.npz",
        "cut": ["act1", "act3"],
        "shares": {"owners": 10, "auxiliary": 5, "attacker_validation": 5, "victims": 5},
        "learning_rate": 3e-4,
        "attack": "inverse-network:epochs=7",
        "threat": "white-box",
        "seed": 3,
        "model": "lenet:mean=[0.25],deviation=[0.123456789]",
        "auxiliary": "noise:samples=900",
        "victims_from": "arrays:path=other file.npz",
    }
    record = replace(attack_record(DIGITS), config={"experiment": plain_experiment(**changes)})
    line = report.command_line(record)
    program, command, *words = shlex.split(line)
    assert (program, command) == ("cutlayer", "attack")
    given: dict[str, Any] = {}
    for flag, value in zip(words[::2], words[1::2], strict=True):
        key = flag.removeprefix("--").replace("-", "_")
        given[key] = [*given.get(key, []), value] if key in ("defence", "cut") else value
    assert set(given) == set(changes)
    assert plain_experiment(**given) == plain_experiment(**changes)


def test_command_line_leaves_the_defaults_out() -> None:
    record = replace(attack_record(DIGITS), config={"experiment": plain_experiment()})
    assert report.command_line(record) == "cutlayer attack"
    assert report.command_line(train_record()) == "cutlayer train"
    assert set(record.config["experiment"]) == set(FIELDS) == set(vars(Experiment()))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), min_size=1, max_size=6), st.booleans())
def test_the_worst_case_is_the_maximum_and_null_never_wins(
    values: list[float | None], low: bool
) -> None:
    name = "mse" if low else "ssim"
    records = [
        replace(attack_record(DIGITS, experiment={}), leakage={name: Estimate(value=v)})
        for v in values
    ]
    known = [v for v in values if v is not None]
    found = worst(name, records).leakage[name].value
    assert found == ((min(known) if low else max(known)) if known else None)


def test_the_page_fetches_nothing_and_runs_only_its_own_scripts(page: tuple[Path, Page]) -> None:
    import base64
    import hashlib

    path, found = page
    text = path.read_text()
    assert len(text.encode()) < 8_000_000
    for _tag, attributes in found.tags:
        for key in ("src", "href", "srcset", "action", "data"):
            assert (attributes.get(key) or "#").startswith(("#", "data:")), attributes
        assert not any(name.startswith("on") for name in attributes)
    policy = next(m["content"] for m in found.all("meta") if "http-equiv" in m)
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    scripts = re.findall(r"<script>(.*?)</script>", text, re.S)
    for script in scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert len(scripts) == 2
    assert not re.search(r"url\((?!data:)|@import", text[: text.index("</style>")])


def test_what_comes_from_a_record_is_text_never_markup(tmp_path: Path) -> None:
    records, samples = digit_runs()
    first = records[0]
    hostile = replace(
        first,
        name=HOSTILE,
        data=first.data | {"name": HOSTILE, "checksum": HOSTILE, "classes": [HOSTILE] * 10},
        threat=first.threat | {"name": HOSTILE, "who": HOSTILE, "words": [HOSTILE]},
        attack={"name": HOSTILE, "judge": {"id": HOSTILE, "accuracy_on_clean_victims": 0.9}},
        flags=[HOSTILE],
        environment={HOSTILE: HOSTILE},
        config={"experiment": {HOSTILE: HOSTILE, "seed": 0, "defence": [HOSTILE]}},
        leakage=first.leakage | {HOSTILE: spread(0.5)},
        floors={HOSTILE: first.floors["mean"]},
    )
    plain = Page(report.write([first], samples, tmp_path / "a", title="x").read_text())
    path = report.write([hostile], samples, tmp_path / "b", title=HOSTILE)
    found = Page(path.read_text())
    assert len(found.all("script")) == len(plain.all("script"))
    assert not any("onerror" in a for _, a in found.tags)
    assert HOSTILE in "".join(found.text)  # shown as it is, not dropped
    block = path.read_text().split('<script type="application/json">')[1].split("</script>")[0]
    assert json.loads(block)["name"] == HOSTILE


def test_a_record_that_names_a_class_does_not_import_it() -> None:
    experiment = {"seed": 0, "defence": [{"kind": "nowhere.at:All", "args": {"scale": 2.0}}]}
    record = replace(attack_record(DIGITS), config={"experiment": experiment})
    assert report.command_line(record) == "cutlayer attack --defence nowhere.at:All:scale=2.0"


def test_the_page_says_in_order_what_a_newcomer_asks(page: tuple[Path, Page]) -> None:
    text = " ".join("".join(page[1].text).split())
    order = [
        "1. In plain words",
        "after act3",
        "500 numbers (2.0 kB as float32)",
        "The computation server and one data owner, working together",
        "315 samples of its own",
        "Undefended, inverse-network by server-and-owner rebuilds the inputs at SSIM 0.873",
        "The best floor beside it is SSIM 0.580 (nearest-auxiliary",
        "laplace:scale=2.0,active=serve leaks least, at SSIM 0.402",
        "leaks most, at SSIM 0.731",
        "2. Originals beside reconstructions",
        "3. Utility against leakage",
        "4. All numbers",
        "5. Flags",
        "6. How to reproduce",
        "--defence laplace:scale=0.5,active=serve",
        "7. Definitions",
    ]
    places = [text.index(phrase) for phrase in order]
    assert places == sorted(places)
    assert "secret-host" not in text


def test_the_strongest_attacker_of_a_configuration_is_named(tmp_path: Path) -> None:
    weak = attack_record(("undefended", 0.98, 0.35, 0.05, 0.5, ()), threat="black-box")
    strong = attack_record(DIGITS, threat="white-box", repeats=16)
    text = "".join(Page(report.write([weak, strong], {}, tmp_path).read_text()).text)
    assert "Undefended, inverse-network by white-box, 16 messages of each input rebuilds" in text
    assert "undefended, black-box, 1 message of each input" in text


@pytest.mark.parametrize("shape", [(1, 5, 7), (3, 8, 8), (4, 8, 8), (2, 30), (9,)])
def test_every_shape_of_sample_is_drawn(tmp_path: Path, shape: tuple[int, ...]) -> None:
    ssim = 0.5 if len(shape) == 3 else None
    r = attack_record(("undefended", 0.9, ssim, 0.01, 0.9, ()), shape=shape, classes=["a", "$\\x$"])
    x = torch.rand(4, *shape)
    held = {f"{g}.{k}": x for g in ("typical", "best", "worst") for k in ("x", "x_hat")}
    held |= {f"{g}.label": torch.tensor([0, 1, 0, 1]) for g in ("typical", "best", "worst")}
    held["worst.x_hat"] = torch.full_like(x, torch.nan)
    found = Page(report.write([r], {r.id: held}, tmp_path).read_text())
    drawn = [a["src"] for a in found.all("img")] if len(shape) == 3 else found.all("polyline")
    assert len(drawn) >= 3 * (4 + 4)
    png = (tmp_path / "reconstructions.png").read_bytes()
    width, height = struct.unpack(">II", png[16:24])
    assert min(width, height) > 100
    assert all(a.get("alt") for a in found.all("img"))


def test_pixels_clip_and_survive_what_is_no_number() -> None:
    t = torch.tensor([[[float("nan"), -1.0, 0.5, 2.0]]])
    assert pixels(t).tolist() == [[0, 0, 128, 255]]


def test_large_pictures_stay_within_the_page_limit() -> None:
    x = torch.rand(10, 3, 128, 128)
    held = {f"{g}.{k}": x for g in ("typical", "best", "worst") for k in ("x", "x_hat")}
    held |= {f"{g}.label": torch.arange(10) for g in ("typical", "best", "worst")}
    records = [attack_record((f"undefended {i}", *DIGITS[1:])) for i in range(3)]
    every = reading.settings(records)
    found = render(every, [], {r.id: held for r in records}, title="", partial=False)
    assert len(found.encode()) < 8_000_000
    assert len(Page(found).all("img")) > 3 * 3 * 5  # smaller, but there


def test_null_is_a_dash_and_never_a_number(tmp_path: Path) -> None:
    records, samples = other_runs()
    silent = replace(records[0], leakage=dict.fromkeys(METRICS, Estimate(value=None)), utility={})
    path = report.write([silent, *records[1:]], samples, tmp_path)
    text = path.read_text()
    assert '<span class="null" title="not applicable / not finite">–</span>' in text
    body = text[: text.index("<script>")]
    assert not re.search(r"\b(None|nan|NaN)\b", body)


def test_a_partial_report_says_what_is_missing(tmp_path: Path) -> None:
    records, _ = digit_runs()
    text = "".join(
        Page(
            report.write([train_record(), records[1]], {}, tmp_path, partial=True).read_text()
        ).text
    )
    assert "partial: the run was stopped" in text
    assert "the attack on undefended (train-0123456789ab)" in text
    assert "an undefended reference on digits" in text


def test_an_attack_below_the_floor_is_not_called_a_success(tmp_path: Path) -> None:
    r = attack_record(("undefended", 0.9, 0.2, 0.06, 0.5, ()))
    text = "".join(Page(report.write([r], {}, tmp_path).read_text()).text)
    assert "SSIM 0.287 (class-mean" in text
    assert "The attack does not beat it" in text


def test_trained_networks_alone_make_a_page(tmp_path: Path) -> None:
    text = "".join(Page(report.write([train_record()], {}, tmp_path).read_text()).text)
    assert "No attack is among these runs" in text
    assert "with the nearest message: retrieval" in text


def test_flags_are_explained_where_they_stand(page: tuple[Path, Page]) -> None:
    badges = [a for a in page[1].all("a") if a.get("class") == "flag"]
    assert badges
    anchors = {a["id"] for a in page[1].all("div") if a.get("id")}
    for badge in badges:
        assert str(badge["href"])[1:] in anchors
        assert badge["title"] in FLAGS.values()


def test_an_older_report_is_replaced_whole_or_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records, samples = digit_runs()
    (tmp_path / "mine.txt").write_text("keep")
    path = report.write(records[:1], samples, tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    assert "reconstructions.png" in before

    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match="No space left"):
            report.write(records[:2], samples, tmp_path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
    report.write(records[:1], {}, tmp_path)
    assert not (tmp_path / "reconstructions.png").exists()  # no stale figure beside a new page
    assert path.exists()
    assert (tmp_path / "mine.txt").exists()


def test_the_terminal_table_shows_each_run_and_reads_no_markup() -> None:
    from rich.console import Console

    records, _ = digit_runs()
    records = [from_json(to_json(r)) for r in records]
    records[0] = replace(records[0], name="[red]not markup[/red]")
    console = Console(width=160, file=io.StringIO(), no_color=True)
    console.print(report.terminal_table(records))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "[red]not markup[/red]" in text
    assert "0.873 [0.864, 0.882]" in text
    assert re.search(r"0\.580 +97\.1\D% +1\s", text)
    assert re.search(r"0\.502 +95\.2\D% +1 2\s", text)
    assert f"1  one-seed: {FLAGS['one-seed']}" in text
    assert "2  randomised-defence-single-query" in text


def written(folder: Path, records: list[Record]) -> tuple[Page, str]:
    """The page about runs, and what a reader sees of it."""
    page = Page(report.write(records, {}, folder).read_text())
    return page, " ".join("".join(page.text).split())


def test_of_a_prediction_api_no_cut_and_no_message_is_told(tmp_path: Path) -> None:
    page, text = written(tmp_path, api_runs())
    seen = text[text.index("cutlayer · what leaks") : text.index("5. Flags")]
    defined = text[text.index("7. Definitions") : text.index("Every number is read")]
    titles = " ".join(t["title"] or "" for t in page.all("th") if "title" in t)
    for told in (seen, defined, titles):
        assert not re.search(r"\b(cut|messages?|owners?|servers?|split|overheard \d)\b", told)
    order = [
        "what leaks from a prediction API",
        "is served as a prediction API",
        "One answer is 10 numbers (40 bytes as float32)",
        "The answers to the inputs of 539 victims were attacked",
        "A client of a prediction API",
        "sees what the prediction API answers, to its own samples and to the victims'",
        "confidence-inversion, having seen 1 answer to each input",
        "Undefended, confidence-inversion by prediction-api rebuilds the inputs at SSIM 0.710",
    ]
    places = [text.index(phrase) for phrase in order]
    assert places == sorted(places)
    assert "nearest answer: retrieval" in titles


def test_what_an_api_is_worth_stands_beside_its_accuracy(tmp_path: Path) -> None:
    page, text = written(tmp_path, api_runs())
    assert "accuracy is 98.6 % (undefended 98.6 %), label agreement 100.0 %, L1" in text
    assert len(re.findall("label agreement *low is bad *L1 distortion *high is bad", text)) == 1
    assert "L1 distortionHow far a prediction API's answer is from what the classifier" in text
    (block,) = [json.loads(b) for b in page.text if b.startswith('{"apart"')]
    assert block["worth"] == "l1_distortion"  # of accuracies all alike nothing is to be seen
    assert set(block["utilities"]) == {"accuracy", "label_agreement", "l1_distortion"}
    assert block["runs"][3]["utility"]["l1_distortion"][0] == 0.049
    _, cut = written(tmp_path, digit_runs()[0])
    assert "L1 distortion" not in cut


def test_where_labels_change_the_figure_shows_accuracy(tmp_path: Path) -> None:
    flipped = answered("lfp:fraction=0.3", 0.2, accuracy=0.71, agreement=0.72, l1=0.5)
    page, text = written(tmp_path, [*api_runs(), flipped])
    (block,) = [json.loads(b) for b in page.text if b.startswith('{"apart"')]
    assert block["worth"] == "accuracy"
    assert "label agreement 72.0 %" in text


def test_an_api_is_held_against_itself_not_against_a_cut(tmp_path: Path) -> None:
    """The undefended messages leak more than the undefended answers: two settings, not one."""
    page, text = written(tmp_path, [*digit_runs()[0], *api_runs()])
    headings = " ".join(b for b in page.text if b.startswith("digits, "))
    assert headings.count("digits, split network") >= 4 <= headings.count("digits, prediction API")
    assert "what leaks at the cut and from a prediction API" in text
    cut, api = text.index("Undefended, inverse-network"), text.index("Undefended, confidence-inv")
    assert "at SSIM 0.873" in text[cut : cut + 90]
    assert "at SSIM 0.710" in text[api : api + 90]
    assert "digits, prediction API: undefended; digits, prediction API: rounding" in text
    assert "nearest message or answer: retrieval" in text[text.index("7. Definitions") :]
    floors = rows(tmp_path / "floors.csv")
    assert {r["data"] for r in floors} == {"digits"}
    assert {r["threat"] for r in floors} == {"server-and-owner", "prediction-api"}


def test_the_label_alone_is_called_the_ceiling_and_no_weak_attack(tmp_path: Path) -> None:
    ceiling = "No defence that keeps every label can hide more than label-only does"
    _, text = written(tmp_path, api_runs())
    assert text.count(ceiling) == 1
    assert "label-only leaks least, at SSIM 0.250" in text
    assert "No attack can be expected to beat it: the label is all there is to see." in text
    assert "a stronger one may well leak more" not in text
    _, without = written(tmp_path, [r for r in api_runs() if r.name != "label-only"])
    assert ceiling not in without
    weak = answered("lpa:budget=0.05", 0.26, l1=0.049)
    _, doubtful = written(tmp_path, [api_runs()[0], weak])
    assert "The attack does not beat it: a stronger one may well leak more." in doubtful


def test_the_terminal_table_has_the_distortion_and_80_columns() -> None:
    from rich.console import Console

    for records, there in ((api_runs(), True), (digit_runs()[0], False)):
        console = Console(width=80, file=io.StringIO(), no_color=True)
        console.print(report.terminal_table(records))
        assert isinstance(console.file, io.StringIO)
        text = console.file.getvalue()
        assert ("distortion" in text) == there
        assert "flags" in text.split("\nundefended")[0]
        assert ("0.049" in text) == there


def test_no_records_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one record wanted: got none"):
        report.write([], {}, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        report.write(digit_runs()[0], {}, tmp_path / "file" / "report")
