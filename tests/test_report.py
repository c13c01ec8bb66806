"""The report: what it must say, and what it must never do."""

import csv
import io
import json
import re
import shlex
import struct
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from cutlayer import report
from cutlayer.checks import FLAGS
from cutlayer.config import FIELDS, Experiment, parse
from cutlayer.metrics import METRICS
from cutlayer.record import Estimate, Record, address, from_json, to_json
from cutlayer.report.pictures import pixels
from cutlayer.report.reading import worst
from cutlayer.threat import threat_model

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
DIGITS = ("undefended", 0.986, 0.873, 0.0121, 0.971, ())
DEFENDED = (
    DIGITS,
    ("laplace:scale=0.5,active=serve", 0.984, 0.731, 0.0213, 0.952, ("laplace",)),
    ("laplace:scale=2.0,active=serve", 0.902, 0.402, 0.0488, 0.711, ("laplace",)),
    ("nopeek:weight=0.5", 0.981, 0.614, 0.0307, 0.938, ("nopeek",)),
    ("nopeek:weight=0.5 + laplace:scale=0.5", 0.972, 0.463, 0.0412, 0.846, ("nopeek", "laplace")),
)


def plain_experiment(**changes: Any) -> dict[str, Any]:
    """The fields of an experiment as a record holds them."""
    from cutlayer.assembly import plain

    return plain(parse(changes))


def spread(value: float | None, width: float = 0.01, n: int = 539, tail: float = 0.1) -> Estimate:
    if value is None:
        return Estimate(value=None, n=n)
    return Estimate(value=value, low=value - width, high=value + width, n=n, worst=value + tail)


def scores(ssim: float | None, mse: float, read: float) -> dict[str, Estimate]:
    return {
        "mse": spread(mse, 0.0009, tail=-mse / 2),
        "psnr": spread(10 + 8 * (1 - mse * 15), 0.2, tail=3.0),
        "ssim": spread(ssim, 0.009, tail=0.07),
        "read": Estimate(value=read, low=read - 0.02, high=min(read + 0.02, 1), n=539),
        "read_by_victim": Estimate(value=read - 0.01, low=read - 0.03, high=read, n=539),
        "top1": Estimate(value=read * 0.8, low=read * 0.78, high=read * 0.83, n=539),
        "top5": Estimate(value=read * 0.9, low=read * 0.88, high=read * 0.93, n=539),
        "dcor_x_z": Estimate(value=read * 0.9, n=512),
        "dcor_x_z_corrected": Estimate(value=read * 0.7, n=512),
        "dcor_x_xhat": Estimate(value=read * 0.92, n=512),
        "dcor_x_xhat_corrected": Estimate(value=read * 0.75, n=512),
    }


def attack_record(
    row: Sequence[Any],
    *,
    experiment: dict[str, Any] | None = None,
    shape: Sequence[int] = (1, 28, 28),
    classes: Sequence[str] = tuple("0123456789"),
    data: str = "digits",
    flags: Sequence[str] = (),
    threat: str = "server-and-owner",
    repeats: int = 1,
) -> Record:
    name, accuracy, ssim, mse, read, parts = row
    if experiment is None:
        spec = name.split(" + ") if parts else []
        experiment = plain_experiment(defence=spec, threat=threat, repeats=repeats)
    config = {"network": f"train-{address({'n': name})}", "seed": 0, "experiment": experiment}
    noisy = "laplace" in parts
    image = ssim is not None
    return Record(
        id=f"attack-{address(config | {'data': data})}",
        kind="attack",
        name=name,
        config=config,
        victim=config["network"],
        data={
            "name": data,
            "checksum": "8f14e45f" * 8,
            "shape": list(shape),
            "classes": list(classes),
            "message_shape": [500] if image else [16, 23],
            "shares": {
                "owners": [[[0, 120], [130, 400]]],
                "auxiliary": [[400, 700]],
                "victims": [[i, i + 1] for i in range(1000, 1020, 2)],
            },
        },
        threat=threat_model(threat).to_dict()
        | {"auxiliary": 315, "queries": 7560 * repeats, "repeats": repeats},
        defence={
            "parts": name.split(" + ") if parts else [],
            "noise_deviation": 0.707 if noisy else 0.0,
            "message_rms": 1.31,
            "noise_to_message": 0.54 if noisy else 0.0,
        },
        attack={
            "name": "inverse-network",
            "epochs": 24,
            "judge": {"id": "judge-0c1d", "accuracy_on_clean_victims": 0.991},
        },
        utility={"accuracy": spread(accuracy, 0.008, tail=0.0), "ece": spread(0.021, 0.004)},
        leakage=scores(ssim, mse, read),
        floors={
            "mean": scores(0.112 if image else None, 0.0671, 0.101),
            "class-mean": scores(0.287 if image else None, 0.0523, 0.93),
            "nearest-auxiliary": scores(0.55 * ssim + 0.1 if image else None, 0.041, read * 0.9),
            "shuffled": {"dcor_x_z": Estimate(value=0.21, n=512)},
        },
        advantage={"ssim": (ssim - 0.3) / 0.7 if image else None, "mse": 0.61},
        flags=list(flags),
        environment={"python": "3.11.9", "platform": "Linux", "host": "secret-host"},
    )


def pictures(x: Tensor, y: Tensor, blur: float, seed: int) -> dict[str, Tensor]:
    """The samples that a run keeps, its reconstructions blurred and noised."""
    source = torch.Generator().manual_seed(seed)
    held = {}
    for group, shift, hard in (
        ("typical", 0, blur),
        ("best", seed, 0.7 * blur),
        ("worst", 40, 1.2),
    ):
        index = torch.arange(10) + shift
        t = x[index]
        mixed = t + 0.25 * blur * torch.randn(t.shape, generator=source)
        if t.dim() == 4:
            soft = interpolate(avg_pool2d(t, 4), t.shape[2:], mode="bilinear")
            mixed = (1 - min(hard, 0.9)) * t + min(hard, 0.9) * 0.7 * soft + 0.08 * (mixed - t)
        held |= {f"{group}.x": t, f"{group}.x_hat": mixed.clamp(0, 1)}
        held |= {f"{group}.victim": index, f"{group}.label": y[index]}
    return held


def digit_runs() -> tuple[list[Record], dict[str, dict[str, Tensor]]]:
    """Undefended, Laplace at two strengths, NoPeek, and NoPeek with noise, on real digits."""
    from sklearn.datasets import load_digits

    raw = load_digits()
    x = torch.from_numpy(raw.images / 16).float().unsqueeze(1)
    x = interpolate(x, (28, 28), mode="bilinear").clamp(0, 1)
    y = torch.from_numpy(raw.target).long()
    records = [
        attack_record(
            row, flags=["randomised-defence-single-query"] if "laplace" in row[-1] else []
        )
        for row in DEFENDED
    ]
    blurs = (0.2, 0.45, 0.9, 0.6, 0.75)
    samples = {
        r.id: pictures(x, y, blur, i)
        for i, (r, blur) in enumerate(zip(records, blurs, strict=True))
    }
    return records, samples


def other_runs() -> tuple[list[Record], dict[str, dict[str, Tensor]]]:
    """A signal and a table: no SSIM, lines instead of pictures."""
    time = torch.linspace(0, 1, 187)
    beats = torch.stack([(-((time - 0.3 - 0.008 * (i % 20)) ** 2) * 900).exp() for i in range(60)])
    beats = (beats * 0.8 + 0.1 * (6.28 * 3 * time).sin() + 0.12).clamp(0, 1).unsqueeze(1)
    table = torch.rand(60, 30, generator=torch.Generator().manual_seed(0))
    records, samples = [], {}
    for data, x, classes in (
        ("heartbeats", beats, ("normal", "supraventricular", "ventricular", "fusion")),
        ("breast-cancer", table, ("malignant", "benign")),
    ):
        for row, blur in ((("undefended", 0.97, None, 0.004, 0.96, ()), 0.15), (
            ("gaussian:scale=0.5", 0.93, None, 0.019, 0.81, ("gaussian",)), 0.6
        )):  # fmt: skip
            r = attack_record(row, shape=x.shape[1:], classes=classes, data=data, flags=["small-n"])
            records.append(r)
            samples[r.id] = pictures(x, torch.arange(60) % len(classes), blur, 3)
    return records, samples


def train_record() -> Record:
    return Record(
        id="train-0123456789ab",
        kind="train",
        name="undefended",
        config={"cutlayer": "0.1.0", "cut": ["act3"], "experiment": plain_experiment()},
        data={"name": "digits"},
        training={"steps": 240, "epochs": [{"loss": 1.2}]},
        utility={"accuracy": spread(0.97)},
    )


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


def test_large_pictures_stay_within_the_page_limit(tmp_path: Path) -> None:
    x = torch.rand(10, 3, 128, 128)
    held = {f"{g}.{k}": x for g in ("typical", "best", "worst") for k in ("x", "x_hat")}
    held |= {f"{g}.label": torch.arange(10) for g in ("typical", "best", "worst")}
    records = [attack_record((f"undefended {i}", *DIGITS[1:])) for i in range(3)]
    path = report.write(records, {r.id: held for r in records}, tmp_path)
    assert path.stat().st_size < 8_000_000


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


def test_trained_networks_alone_make_a_page(tmp_path: Path) -> None:
    text = "".join(Page(report.write([train_record()], {}, tmp_path).read_text()).text)
    assert "No attack is among these runs" in text


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
            report.write(records, samples, tmp_path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
    report.write(records, {}, tmp_path)
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
    assert "0.580 nearest-auxiliary" in text
    assert "one-seed" in text
    assert "randomised-defence-single-query" in text


def test_no_records_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one record wanted: got none"):
        report.write([], {}, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        report.write(digit_runs()[0], {}, tmp_path / "file" / "report")
