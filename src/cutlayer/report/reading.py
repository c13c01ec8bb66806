"""How a record is read: labels, groups, formats and the picking of maxima. No arithmetic."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..metrics import METRICS, UTILITY, Metric
from ..record import Estimate, Record, Scores
from .command import part_of

NONE = Estimate(value=None)
OF_AN_API: dict[str, Metric] = {  # utility, beside accuracy and calibration
    "label_agreement": Metric("label agreement", "", "low", 1.0),
    "l1_distortion": Metric("L1 distortion", "", "high", 0.0),
}
FRACTIONS = {
    "accuracy",
    "label_agreement",
    "read",
    "read_by_victim",
    "top1",
    "top5",
    "top1_in_class",
}  # printed as per cent
DIGITS = {"mse": 4, "psnr": 1}
GUESSES = ("mean", "class-mean", "nearest-auxiliary")  # floors that answer with a sample
_ATTACKER = {"threat", "attack", "repeats", "victims", "threads", "device", "data_root"}
_ATTACKER |= {"auxiliary", "auxiliary_share", "auxiliary_samples", "adversaries"}


def metric(name: str) -> Metric:
    """How to read a metric, one of this release or not."""
    known = (METRICS | UTILITY | OF_AN_API).get(name)
    return known or Metric(name, "", "high", 1.0)


def number(name: str, value: float | None) -> str:
    """A value as the page prints it, a dash for null."""
    if value is None:
        return "–"
    if name in FRACTIONS:
        return f"{value:.1%}".replace("%", "\u202f%")
    digits = DIGITS.get(name, 3)
    small = 0 < abs(value) < 10 ** (1 - digits)  # two figures of it, however small
    return f"{value:.2g}" if small else f"{value:.{digits}f}"


def interval(name: str, estimate: Estimate) -> str:
    """``low … high``, empty where there is none."""
    if estimate.low is None or estimate.high is None:
        return ""
    return f"{number(name, estimate.low)} … {number(name, estimate.high)}"


def breakable(text: str) -> Any:
    """Escaped text that may wrap behind the marks of a defence's spelling."""
    from markupsafe import Markup, escape

    safe = str(escape(text))  # its entities hold none of the three marks
    for mark in ":,=":
        safe = safe.replace(mark, f"{mark}<wbr>")
    return Markup(safe)


def leaks_more(name: str, a: Estimate, b: Estimate) -> bool:
    """Whether ``a`` is worse for the data owner than ``b``; null is never worse."""
    if a.value is None or b.value is None:
        return a.value is not None
    return a.value > b.value if metric(name).leaks == "high" else a.value < b.value


def worst(name: str, records: Sequence[Record]) -> Record:
    """The record that leaks most."""
    found = records[0]
    for r in records[1:]:
        if leaks_more(name, r.leakage.get(name, NONE), found.leakage.get(name, NONE)):
            found = r
    return found


def best_floor(name: str, floors: Mapping[str, Scores]) -> tuple[str, Estimate]:
    """The floor that scores best, by name; ``("", null)`` without one."""
    found = ("", NONE)
    for floor, scores in floors.items():
        if floor in GUESSES and leaks_more(name, scores.get(name, NONE), found[1]):
            found = (floor, scores[name])
    return found


def is_undefended(record: Record) -> bool:
    return not record.defence.get("parts")


def experiment(record: Record) -> Mapping[str, Any]:
    """The fields that the run was asked for; empty in a record without them."""
    raw = record.config.get("experiment")
    return raw if isinstance(raw, Mapping) else {}


def network(record: Record) -> str:
    return str(part_of(experiment(record).get("model", "network")).kind)


def attacker(record: Record) -> str:
    return str(record.attack.get("name", "attack"))


def repeats(record: Record) -> int:
    value = record.threat.get("repeats", 1)
    return value if isinstance(value, int) else 1


def seen(record: Record) -> str:
    """What the attacker saw of an input: an ``answer`` of a prediction API, or a ``message``."""
    return "answer" if "confidences" in record.threat.get("has", ()) else "message"


def heard(record: Record) -> str:
    """How many messages of each victim's input were overheard, or answers to it, in words."""
    m, what = repeats(record), seen(record)
    return f"{m} {what}{'s' if m > 1 else ''} {'to' if what == 'answer' else 'of'} each input"


def knows(record: Record) -> str:
    """How many samples of its own the attacker has, and where they come from, in words."""
    count, source = record.threat.get("auxiliary"), record.threat.get("auxiliary_from")
    return f"attacker has {count} samples" + (f" of {source}" if source else "")


def victims_from(record: Record) -> str:
    """The data set that the victims come from, where it is not the network's."""
    raw = record.data.get("victims_from")
    return str(raw.get("name", "")) if isinstance(raw, Mapping) else ""


def classes(record: Record) -> Sequence[Any]:
    """What the victims' classes are called."""
    raw = record.data.get("victims_from")
    found = raw if isinstance(raw, Mapping) else record.data
    return tuple(found.get("classes") or ())


def configuration(record: Record) -> str:
    """Equal for runs that differ in nothing but who attacks; other victims are another one."""
    kept = {k: v for k, v in experiment(record).items() if k not in _ATTACKER}
    return json.dumps(kept or record.id, sort_keys=True, default=str)


@dataclass(frozen=True)
class Setting:
    """The attack runs on one data set that saw the same kind of thing, in the order given."""

    name: str
    runs: list[Record]
    labels: dict[str, str]  # by record id: the run's name, and what else tells it from the others
    cuts: dict[str, str]  # by record id
    flags: Mapping[str, list[str]] = field(default_factory=dict)

    @property
    def data(self) -> str:
        """The data set."""
        return _data(self.runs[0])

    @property
    def seen(self) -> str:
        """What the attackers saw of an input: a ``message``, or an ``answer``."""
        return seen(self.runs[0])

    @property
    def utility(self) -> list[str]:
        """Accuracy, calibration error, and what else says what a prediction API is worth."""
        present = {name for r in self.runs for name in r.utility}
        return [*UTILITY, *(n for n in OF_AN_API if n in present)]

    @property
    def worth(self) -> str:
        """The utility that tells the runs apart: the distortion, where accuracy is the same."""
        prints = {number("accuracy", r.utility.get("accuracy", NONE).value) for r in self.runs}
        alike = len(self.runs) > 1 and len(prints) == 1
        return "l1_distortion" if alike and "l1_distortion" in self.utility else "accuracy"

    @property
    def metrics(self) -> list[str]:
        """Every metric that any run has, in the order of ``METRICS``."""
        present = {name for r in self.runs for name in r.leakage}
        return [n for n in METRICS if n in present] + sorted(present - METRICS.keys())

    @property
    def measured(self) -> list[str]:
        """The metrics that have a value in some run."""
        some = {n for r in self.runs for n, s in r.leakage.items() if s.value is not None}
        return [n for n in self.metrics if n in some]

    @property
    def primary(self) -> str:
        """The metric that leads: SSIM for images, the error elsewhere."""
        return next((n for n in ("ssim", "mse") if n in self.measured), "mse")

    def configurations(self) -> list[list[Record]]:
        """The runs of each configuration: same network and defence, any attacker."""
        found: dict[str, list[Record]] = {}
        for r in self.runs:
            found.setdefault(configuration(r), []).append(r)
        return list(found.values())

    def common_floors(self) -> dict[str, Scores]:
        """The floors that print the same for every run."""
        common = {}
        for floor, scores in self.runs[0].floors.items():
            mine = printed(scores)
            if all(floor in r.floors and printed(r.floors[floor]) == mine for r in self.runs):
                common[floor] = scores
        return common


def printed(scores: Scores) -> dict[str, tuple[str, str]]:
    return {n: (number(n, s.value), interval(n, s)) for n, s in scores.items()}


def settings(records: Iterable[Record]) -> list[Setting]:
    """Attack runs grouped by data set and what was seen, with labels that tell them apart."""
    from ..checks import all_flags

    records = list(records)
    trained = {r.id: r for r in records if r.kind == "train"}
    groups: dict[tuple[str, str, str], list[Record]] = {}
    for r in records:
        if r.kind == "attack":
            key = _data(r), str(r.data.get("checksum", "")), seen(r)
            groups.setdefault(key, []).append(r)
    found = []
    flags = all_flags(records)
    names = _names(groups)
    for key, runs in groups.items():
        cuts = {r.id: _cut(r, trained.get(r.victim or "")) for r in runs}
        unique = {r.id: list(dict.fromkeys(flags.get(r.id, r.flags))) for r in runs}
        found.append(Setting(names[key], runs, _labels(runs, cuts), cuts, unique))
    return found


def _names(groups: Iterable[tuple[str, str, str]]) -> dict[tuple[str, str, str], str]:
    """A setting's name: its data, and what was attacked where the page has both kinds of it."""
    kinds = {(data, what) for data, _, what in groups}
    both = {data for data, _ in kinds if {(data, "message"), (data, "answer")} <= kinds}
    attacked = {"message": "split network", "answer": "prediction API"}
    return {k: f"{k[0]}, {attacked[k[2]]}" if k[0] in both else k[0] for k in groups}


def _data(record: Record) -> str:
    return str(record.data.get("name", "data"))


def full_labels(every: Sequence[Setting]) -> dict[str, str]:
    """By record id the run's label, with the setting in front where there are several."""
    many = len(every) > 1
    return {
        r.id: f"{s.name}: {s.labels[r.id]}" if many else s.labels[r.id]
        for s in every
        for r in s.runs
    }


def _cut(record: Record, trained: Record | None) -> str:
    from ..models import DEFAULT_CUT

    for source in (record.config.get("cut"), (trained.config if trained else {}).get("cut")):
        if source:
            return ", ".join(map(str, source)) if isinstance(source, list) else str(source)
    asked = experiment(record).get("cut")
    return ", ".join(map(str, asked or ())) or DEFAULT_CUT.get(network(record), "")


def _labels(runs: Sequence[Record], cuts: Mapping[str, str]) -> dict[str, str]:
    aspects = [
        {r.id: network(r) for r in runs},
        {r.id: f"cut after {cuts[r.id]}" for r in runs},
        {r.id: str(r.threat.get("name", "")) for r in runs},
        {r.id: str(r.threat.get("holds", "")) for r in runs},
        {r.id: attacker(r) for r in runs},
        {r.id: heard(r) for r in runs},
        {r.id: knows(r) for r in runs},
        {r.id: f"victims of {v}" if (v := victims_from(r)) else "" for r in runs},
        {r.id: f"seed {experiment(r).get('seed', '?')}" for r in runs},
        {
            r.id: "" if (s := experiment(r).get("attack_seed")) is None else f"attack seed {s}"
            for r in runs
        },
        {r.id: f"{experiment(r).get('owners', 1)} owners" for r in runs},
        {r.id: f"{experiment(r).get('epochs', '?')} epochs" for r in runs},
        {r.id: "given weights" if experiment(r).get("weights") else "" for r in runs},
    ]
    telling = [a for a in aspects if len(set(a.values())) > 1]
    labels = {r.id: ", ".join([r.name, *(a[r.id] for a in telling if a[r.id])]) for r in runs}
    every = list(labels.values())
    return {i: t if every.count(t) == 1 else f"{t}, {i}" for i, t in labels.items()}
