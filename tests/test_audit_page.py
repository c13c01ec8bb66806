"""The page of an audit: what it must say, and what it must never do."""

import base64
import csv
import hashlib
import io
import json
import re
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from audit_made import (
    HOSTILE,
    RECOMMENDED,
    THREATS,
    Kind,
    hostile,
    made,
    nothing,
    partial,
    without_recommendation,
)

from cutlayer.auditing import words
from cutlayer.auditing.page import render, write
from cutlayer.auditing.pictures import rows as picture_rows
from cutlayer.auditing.result import Audit, Pictures, from_json, to_json
from cutlayer.auditing.tables import at_places, changes, chart
from cutlayer.checks import FLAGS
from cutlayer.record import Estimate


class Page(HTMLParser):
    """Elements and the text in them, as a browser would find them; scripts apart."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.scripts: list[str] = []
        self._in = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in = tag
        self.words.append("" if tag in ("a", "b", "code", "span", "wbr") else " ")
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        self._in = ""

    def handle_data(self, data: str) -> None:
        if self._in == "script":
            self.scripts.append(data)
        elif self._in != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def text_of(audit: Audit) -> str:
    return Page(render(audit)).text


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Page]:
    path = write(made(), tmp_path_factory.mktemp("audit"))
    return path, Page(path.read_text("utf-8"))


def test_the_page_answers_its_three_readers_in_order(written: tuple[Path, Page]) -> None:
    order = [
        "Is it safe?",
        "Yes, with a reservation: with Laplace 0.8·rms, cut after fc1, the worst attacker tried "
        "(inverse network, averaging 16 messages) finds out whose input it is in 4.9 % of cases, "
        "where guessing is right in 0.4 %, and it costs 0.8 points of accuracy (97.1 % are left).",
        "stolen, undefended",
        "no defence, cut after fc1, inverse network, averaging 16 messages: 68.2 %",
        "stolen, as recommended",
        "one-seed: One seed only",
        "accuracy of at least: 96.0 % ✓ kept",
        "Who is feared",
        "Where to cut, what to change",
        "ruled out: tells what conv1 tells",
        "81.3 % 79.3 % … 83.3 % 53.4 % 51.4 % … 55.4 % Gaussian 0.8·rms, −1.1",
        "ruled out: needs 136,934 parameters",
        "Why not the next ones:",
        "Every number",
        "fc1/laplace-0.8; recommended",
        "Flags: reasons not to believe a number",
        "Shares that must be disjoint have samples in common. Raised for regularised maximum",
        "How it was made",
        "cutlayer audit mypackage.model:build --data digits",
    ]
    text, at = written[1].text, 0
    for phrase in order:
        at = text.index(phrase, at)
    assert "secret-host" not in text


def test_every_attack_is_a_row_with_its_flags_and_command(written: tuple[Path, Page]) -> None:
    audit, page = made(), written[1]
    attacks = [a for c in audit.configurations for a in c.attacks]
    assert len([r for r in page.all("tr") if "data-a" in r]) == len(attacks)
    assert all(a.run in page.text and a.command in page.text for a in attacks)
    badges = [a for a in page.all("a") if a.get("class") == "flag"]
    assert len(badges) >= sum(len(a.flags) for a in attacks)
    anchors = {d["id"] for d in page.all("div") if d.get("id")}
    for badge in badges:
        assert str(badge["href"])[1:] in anchors
        assert badge["title"] in FLAGS.values()


def test_the_script_gets_the_numbers_of_the_audit(written: tuple[Path, Page]) -> None:
    audit = made()
    data = json.loads(next(s for s in written[1].scripts if s.startswith('{"')))
    assert data == json.loads(json.dumps(chart(audit)))
    found = {c["key"]: c["attacks"] for c in data["configurations"]}
    for c in audit.configurations:
        for a, told in zip(c.attacks, found[c.key], strict=True):
            e = a.leakage["class"]
            assert told["leakage"]["class"] == [e.value, e.low, e.high]
            assert set(told["threats"]) == set(a.threats)


def test_the_page_fetches_nothing_and_runs_only_its_own_scripts(
    written: tuple[Path, Page],
) -> None:
    path, page = written
    text = path.read_text("utf-8")
    assert len(text.encode()) < 8_000_000
    for tag, attributes in page.tags:
        for key in ("src", "href", "srcset", "action", "data"):
            assert (attributes.get(key) or "#").startswith(("#", "data:")), (tag, attributes)
        assert not any(name.startswith("on") for name in attributes)
    policy = next(m["content"] for m in page.all("meta") if "http-equiv" in m)
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    scripts = re.findall(r"<script>(.*?)</script>", text, re.S)
    digests = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
    assert re.findall(r"'sha256-([^']+)'", policy) == digests
    assert len(scripts) == 2
    assert not re.search(r"url\((?!data:)|@import", text[: text.index("</style>")])


def test_what_comes_from_an_audit_is_text_never_markup() -> None:
    plain, found = Page(render(partial())), Page(render(hostile(), before=hostile()))
    assert len(found.all("script")) == len(plain.all("script"))
    assert not any("onerror" in a for _, a in found.tags)
    assert {t for t, _ in found.tags} <= {t for t, _ in plain.tags}
    assert HOSTILE in "".join(found.words)  # shown as it is, not dropped
    fragment = Page(hostile()._repr_html_())
    assert not fragment.all("script")
    assert len(fragment.all("img")) == 1
    assert HOSTILE in "".join(fragment.words)


def test_without_a_recommendation_it_says_no_and_the_ways_out() -> None:
    text = text_of(without_recommendation())
    assert "No: no setting that was tried keeps all that was asked for; with the nearest, " in text
    assert "in 4.9 % of cases, where guessing is right in 0.4 % (allowed: 1.0 %)" in text
    assert "leakage of at most: 1.0 % ✗ not kept" in text
    assert "stolen, nearest setting" in text
    assert "Ways out, each for itself: leakage: 6 % instead of 1 %" in text


def test_a_partial_audit_says_so_on_top_and_in_the_verdict() -> None:
    text = text_of(partial())
    told = "This audit is partial. Not examined: training with a defence (there was no time left "
    assert f"{told}for it); the strongest attackers (others promised more). What exactly" in text
    assert "act2/dropout-0.5" in text
    assert "Yes, with 2 reservations: " in text
    assert "The audit is partial: 2 things were not examined." in text
    assert "partial" not in text_of(made())


def test_nothing_examined_is_no_yes_and_no_error(tmp_path: Path) -> None:
    path = write(made(), tmp_path)
    assert (tmp_path / "front.png").exists()
    text = Page(write(nothing(), tmp_path).read_text("utf-8")).text
    assert "Not known: nothing was examined." in text
    assert "ruled out: needs 136,934 parameters" in text
    assert not (tmp_path / "front.png").exists()  # no stale figure beside a new page
    assert path.exists()


def changed(key: str = RECOMMENDED, **fields: Any) -> Audit:
    """Made up, with another worst attacker or configuration."""
    audit = made()
    own = {k: v for k, v in fields.items() if k in ("limits", "thorough")}
    of_attack = {k: v for k, v in fields.items() if k not in own}
    found = [
        replace(c, attacks=tuple(replace(a, **of_attack) for a in c.attacks), **own)
        if c.key == key
        else c
        for c in audit.configurations
    ]
    return replace(audit, configurations=tuple(found))


def test_without_a_ceiling_there_is_no_yes() -> None:
    audit = replace(changed(flags=()), limits={})
    assert words.verdict(audit).sentence.startswith("You decide: with Laplace")
    everything = {"individual": Estimate(value=0.7, low=0.68, high=0.72, n=500)}
    leaky = words.verdict(replace(changed(flags=(), leakage=everything), limits={}))
    assert leaky.answer == "no"
    assert leaky.sentence.startswith("No: even with Laplace 0.8·rms")


def test_a_clean_yes_has_no_reservation_and_each_doubt_is_one() -> None:
    clean = changed(flags=())
    assert words.verdict(clean).answer == "yes"
    assert words.verdict(clean).sentence.startswith("Yes: with Laplace 0.8·rms")
    worst = clean.configuration(RECOMMENDED).attacks[1]
    assert worst.certificate is not None
    idle = replace(worst.certificate, holds=False)
    for doubtful, reason in (
        (changed(flags=(), certificate=None), "Nothing shows that its worst attacker"),
        (changed(flags=(), certificate=idle), "proves nothing"),
        (changed(flags=(), thorough=False), "Only 3 of the strongest attackers"),
        (changed(flags=("small-n",)), "small-n: Fewer than 500 victims"),
        (changed(flags=("new",)), "new: A flag that this release does not know."),
        (changed(flags=(), limits={"leakage": "undecided"}), "the limit on leakage"),
        (replace(clean, limits={}), "No ceiling on leakage was named"),
        (replace(clean, not_examined=("x",)), "1 thing was not examined"),
    ):
        verdict = words.verdict(doubtful)
        assert verdict.answer == "reserved"
        assert reason in " ".join(verdict.reservations)
        asked = doubtful.limits  # without a ceiling nobody but the reader can say
        head = "Yes, with a reservation: " if "leakage" in asked else "You decide: "
        assert verdict.sentence.startswith(head)


def test_pixels_are_told_as_a_number_and_an_undefended_network_as_that() -> None:
    audit = made(protect="pixels", measure="SSIM, 1 is exact")
    sentence = words.verdict(audit).sentence
    assert "rebuilds what the input looks like to 0.156, where guessing reaches 0.120" in sentence
    assert "(SSIM, 1 is exact)" in sentence
    bare = replace(audit.recommendation, key="fc1/undefended")
    sentence = words.verdict(replace(audit, recommendation=bare)).sentence
    assert "with no defence, cut after fc1" in sentence
    assert "the network is right for 97.9" in sentence


@pytest.mark.parametrize(
    ("kind", "drawn"), [("image", "img"), ("signal", "polyline"), ("table", "rect")]
)
def test_every_kind_of_sample_is_drawn_in_three_rows(kind: Kind, drawn: str) -> None:
    audit = made(kind)
    page = Page(render(audit))
    assert [len(r.drawn) for r in picture_rows(audit, words.verdict(audit))] == [8, 8, 8]
    wanted = {"image": 24, "signal": 8 + 2 * 16, "table": 24 * 12}[kind]
    assert len(page.all(drawn)) == wanted
    assert all(a.get("alt") for a in page.all("img"))


def test_pictures_that_were_not_kept_are_left_out() -> None:
    audit = made()
    some = {k: v for k, v in audit.pictures.items() if k == "originals"}
    rows = picture_rows(replace(audit, pictures=some), words.verdict(audit))
    assert [r.label for r in rows] == ["original"]
    assert "No pictures were kept" in text_of(replace(audit, pictures={}))
    odd = {"originals": Pictures(shape=(3, 4, 5), values=((9,) * 60,))}
    assert "original, number 1" in render(replace(audit, pictures=odd))


def test_best_defended_keeps_the_accuracy_where_any_does() -> None:
    found = {a.place.name: a for a in at_places(made())}
    act2, fc1 = found["act2"].best, found["fc1"].best
    assert act2 is not None
    assert act2.key == "act2/gaussian-0.8"  # clip-laplace leaks less and costs 5.8 points
    assert fc1 is not None
    assert fc1.key == RECOMMENDED
    assert found["act1"].undefended is None


def test_null_is_a_dash_and_never_a_number() -> None:
    silent = changed(leakage={"individual": Estimate(value=None)}, floors={}, certificate=None)
    page = render(silent)
    body = Page(page).text
    assert not re.search(r"\b(None|nan|NaN)\b", body)
    assert words.verdict(silent).reservations == ("No attacker who is feared was tried on it.",)


def test_two_audits_side_by_side_tell_noise_from_change() -> None:
    before = changed(leakage={"individual": Estimate(value=0.3, low=0.28, high=0.32)})
    found = {c.now.key: c for c in changes(made(), before)}
    assert found[RECOMMENDED].leakage_better is True
    assert found[RECOMMENDED].given_up_better is None
    assert {c.leakage_better for k, c in found.items() if k != RECOMMENDED} == {None}
    assert {c.now.key: c for c in changes(before, made())}[RECOMMENDED].leakage_better is False
    text = Page(render(made(), before=before)).text
    assert "Against the earlier audit" in text
    assert text.count("leakage is better") == 1
    assert "no configuration in common" in Page(render(made(), before=nothing())).text


def test_csv_files_hold_every_number_and_no_formula(written: tuple[Path, Page]) -> None:
    folder, audit = written[0].parent, made()

    def read(name: str) -> list[dict[str, str]]:
        return list(csv.DictReader(io.StringIO((folder / name).read_text("utf-8"))))

    attacks = [(c, a) for c in audit.configurations for a in c.attacks]
    found = {(r["configuration"], r["run"], r["hidden"]): r for r in read("attacks.csv")}
    assert len(found) == sum(len(a.leakage) for _, a in attacks)
    for c, a in attacks:
        for p, e in a.leakage.items():
            assert found[c.key, a.run, p]["value"] == str(e.value)
            assert found[c.key, a.run, p]["low"] == str(e.low)
    configurations = read("configurations.csv")
    assert [r["configuration"] for r in configurations if r["recommended"] == "True"] == [
        RECOMMENDED
    ]
    assert {r["front"] for r in configurations} == {"True", "False"}
    assert len(read("scores.csv")) == sum(len(a.scores) for _, a in attacks)
    assert [r["place"] for r in read("places.csv")] == [p.name for p in audit.places]
    assert (folder / "front.png").read_bytes().startswith(b"\x89PNG")


def test_in_a_notebook_it_shows_itself() -> None:
    text = made()._repr_html_()
    page = Page(text)
    assert "<script" not in text
    assert page.text.startswith("Yes, with a reservation: ")
    order = ["inverse network, averaging 16", "regularised maximum likelihood", "shadow network"]
    table = page.text[page.text.index("95 % interval") :]
    places = [table.index(name) for name in order]
    assert places == sorted(places)
    assert Page(nothing()._repr_html_()).text.startswith("Not known: nothing was examined.")


@pytest.mark.parametrize("audit", [made(), made("table"), without_recommendation(), nothing()])
def test_json_gives_the_same_audit_back(audit: Audit) -> None:
    assert from_json(to_json(audit)) == audit


def test_what_is_no_audit_is_refused_with_its_source() -> None:
    whole = asdict(nothing())
    for raw, said in (
        ("{", "file.json: JSON of an audit wanted"),
        ("[]", "file.json: an audit wanted, as 'cutlayer audit' writes it"),
        ('{"id": 1}', "an audit wanted, as 'cutlayer audit' writes it"),
        (json.dumps(whole | {"schema_version": 99}), "schema_version 1 wanted, got 99"),
        (json.dumps(whole | {"more": 1}), "fields of an audit wanted: got more"),
        (json.dumps(whole | {"configurations": [{"key": "x"}]}), "an audit wanted"),
        (json.dumps(whole | {"configurations": 3}), "an audit wanted"),
        (json.dumps({k: v for k, v in whole.items() if k != "model"}), "an audit wanted"),
    ):
        with pytest.raises(ValueError, match=re.escape(said)):
            from_json(raw, source="file.json")


def test_the_worst_attacker_is_the_one_of_those_feared() -> None:
    c = made().configuration(RECOMMENDED)
    by = {t: c.worst("individual", [t]) for t in THREATS}
    assert [a.name for a in by.values() if a] == [
        *["inverse network, averaging 16 messages"] * 3,
        "shadow network",
    ]
    assert c.worst("attribute") is None
    assert c.leakage("attribute").value is None
