"""Is an arbitrary input recovered? Victims of kinds that the network was never made for.

Each attacker learns once, of the data that the network was trained for, and is then tried on
victims of every kind.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...config import parse
from ...experiment import carry_out, fitted_attack, load_network, run_training, view_of
from ...trained import silent
from ..claims import NotRun, Verdict, held
from ..findings import Findings, Found
from ..perform import Job, keep_strip, plain
from ..tables import DASH, Column, Line, Shown, Table, value, words
from ..task import Task
from .maker import ALONG, Maker
from .measure import published_ssim
from .published import UNRECOGNISABLE, Data
from .settings import SHAPES

VICTIMS = 100
WHERE: Mapping[Data, tuple[str, ...]] = {"mnist": ("conv1", "ReLU2"), "cifar10": ("ReLU22",)}
# Of published sets of MNIST's shape the folder they lie in.
_FOLDERS: Mapping[str, str] = {"fashion-mnist": "FashionMNIST", "femnist-digits": "femnist_digits"}
_NAMES: Mapping[Data, str] = {"mnist": "MNIST", "cifar10": "CIFAR-10"}
_DRAWN = ("noise", "checkerboard", "text")
_SAMPLES = 4000  # of each kind that is made: some are victims, of the rest the floors know


def arbitrary_key(data: Data, cut: str, threat: str) -> str:
    """The task of an attacker at a cut, whatever kind its victims are of."""
    return f"{data}/arbitrary/{cut}-{threat}"


def known_key(data: Data, cut: str, threat: str) -> str:
    """The task of the same attacker on victims of the network's own kind."""
    more = {"black-box": "-same-distribution-auto", "query-free": "-other-set-same-net"}
    return f"{data}/{threat}/{cut}{more.get(threat, '')}"


def kinds(make: Maker) -> dict[str, dict[str, Any]]:
    """Other data sets that the victims come from, by name; published ones where they are there."""
    root, found = make.options.data_root, dict[str, dict[str, Any]]()
    if make.data == "mnist" and root:
        there = [k for k, folder in _FOLDERS.items() if (Path(root) / folder).is_dir()]
        found = {kind: {"kind": kind, "args": {}} for kind in there}
    args = {"shape": SHAPES[make.data], "samples": 400 if make.options.quick else _SAMPLES}
    return found | {kind: {"kind": kind, "args": args} for kind in _DRAWN}


def tasks_of(make: Maker) -> Iterator[Task]:
    """One for each cut and attacker, which tries victims of every kind."""
    victims = 20 if make.options.quick else VICTIMS
    for cut in WHERE[make.data]:
        for threat, attack in ALONG.items():
            _, kind, name = arbitrary_key(make.data, cut, threat).split("/")
            task = make.attack(kind, name, threat, attack, cut=cut, victims=victims)
            options = {**task.options, "victims_from": kinds(make)}
            yield replace(task, run="arbitrary", options=options)


def attack_all_kinds(job: Job, weights: Path) -> Found:
    """Fit the attack, then try it on victims of each kind; a strip of pictures of each.

    Args:
        weights: The file of the trained network.
    """
    base = job.assembly.variant(weights=str(weights), epochs=0)
    trained = run_training(base, job.store)
    view = view_of(base, load_network(base, job.store, trained.id))
    attack, found = fitted_attack(base, view, silent), {}
    asked = {"queries": view.counts["queries"]}
    for kind, part in job.task.options["victims_from"].items():
        assembly = base.variant(victims_from=parse({"victims_from": part}).victims_from)
        outcome = carry_out(assembly, job.store, trained=trained, fitted=attack)
        keep_strip(outcome, job.results, f"{job.task.key}-{kind}")
        r = outcome.record
        r = replace(r, threat=r.threat | asked, attack=r.attack | asked)
        ssim = float(published_ssim(outcome.x, outcome.x_hat).mean())
        found[kind] = {"record": plain(r), "ssim_as_published": ssim}
    return {"kinds": found}


@dataclass(frozen=True)
class Recovery:
    """What one attacker makes of victims of one kind.

    ssim: mean and 95 % interval. published_ssim: in the authors' variant. floor: its name, and the
    SSIM of the best.
    """

    ssim: tuple[float, float, float]
    published_ssim: float
    psnr: float
    floor: tuple[str, float]

    @property
    def recovered(self) -> bool:
        """Whether pictures are recognisable by the authors' line, and more than a guess."""
        return self.published_ssim > UNRECOGNISABLE and self.ssim[1] > self.floor[1]


def recoveries(findings: Findings, data: Data, cut: str) -> dict[str, dict[str, Recovery]]:
    """By kind of the victims and by threat model, those run; ``""`` is the network's own kind."""
    found: dict[str, dict[str, Recovery]] = {"": {}}
    for threat in ALONG:
        if own := findings.get(known_key(data, cut, threat)):
            found[""][threat] = _recovery(own)
        if every := findings.get(arbitrary_key(data, cut, threat)):
            for kind, kept in every["kinds"].items():
                found.setdefault(kind, {})[threat] = _recovery(kept)
    return found


def _recovery(kept: Mapping[str, Any]) -> Recovery:
    leakage, floors = kept["record"]["leakage"], kept["record"]["floors"]
    ssim = leakage["ssim"]
    guesses = [(name, f["ssim"]["value"]) for name, f in floors.items() if "ssim" in f]
    return Recovery(
        (ssim["value"], ssim["low"], ssim["high"]),
        kept["ssim_as_published"],
        leakage["psnr"]["value"],
        max(guesses, key=lambda guess: guess[1]),
    )


def arbitrary_table(findings: Findings) -> Table:
    """Where the victims come from, by attacker: SSIM, PSNR, and the best floor."""
    columns = [Column("Victims from", ("data", "cut", "victims_from"), text=True)]
    for threat in ALONG:
        keys = tuple(f"{threat}_ssim{end}" for end in ("", "_low", "_high"))
        columns += [Column("SSIM", keys, threat), Column("PSNR", (f"{threat}_psnr",), threat)]
    columns += [
        Column("SSIM", ("floor_ssim", "floor"), "best floor"),
        Column("Recovered by", ("recovered_by",), text=True),
    ]
    lines = [line for data, cut in _cuts() for line in _lines(findings, data, cut)]
    caption = "Victims of kinds that the network was never made for"
    return Table("arbitrary", caption, tuple(columns), tuple(lines))


def _cuts() -> list[tuple[Data, str]]:
    return [(data, cut) for data, cuts in WHERE.items() for cut in cuts]


def _lines(findings: Findings, data: Data, cut: str) -> Iterator[Line]:
    heading = f"{_NAMES[data]}, cut after {cut}"
    for kind, by in recoveries(findings, data, cut).items():
        cells = [Shown(kind or "its own kind", (data, cut, kind or data))]
        for threat in ALONG:
            cells += _numbers(by.get(threat))
        cells += _summed_up(by)
        yield Line(tuple(cells), heading, reference=not kind)
        heading = ""


def _numbers(r: Recovery | None) -> list[Shown]:
    if r is None:
        return [replace(value(None, 3, ran=False), raw=(None,) * 3), value(None, 1, ran=False)]
    within = f"{r.ssim[1]:.3f} … {r.ssim[2]:.3f}".replace("-", "−")
    return [replace(value(r.ssim[0], 3, small=[within]), raw=r.ssim), value(r.psnr, 1)]


def _summed_up(by: Mapping[str, Recovery]) -> list[Shown]:
    """The best floor beside them, and who does better."""
    if not by:
        nothing = Shown(DASH, (None,), mark="missing")
        return [replace(nothing, raw=(None, None)), nothing]
    name, ssim = max((r.floor for r in by.values()), key=lambda floor: floor[1])
    who = ", ".join(threat for threat, r in by.items() if r.recovered)
    return [Shown(f"{ssim:.3f}", (ssim, name), (name,)), words(who or "nobody")]


def arbitrary_inputs(findings: Findings) -> tuple[Verdict, str]:
    """Whether each attacker recovers an arbitrary input, by the rule that the sentence ends with.

    Raises:
        NotRun: not all of MNIST is there.
    """
    for key in (arbitrary_key("mnist", cut, t) for cut in WHERE["mnist"] for t in ALONG):
        if findings.get(key) is None:
            raise NotRun(key)
    every = {place: _foreign(findings, *place) for place in _cuts()}
    tried = [place for place, found in every.items() if found]
    sentences, fine = [], []
    for threat in ALONG:
        of = {p: {k: by[threat] for k, by in every[p].items() if threat in by} for p in tried}
        fine += [r.recovered for found in of.values() for r in found.values()]
        sentences.append(f"{threat}: {'; '.join(_said(p, f) for p, f in of.items() if f)}")
    left = [f"{cut} of {_NAMES[data]}" for data, cut in every if (data, cut) not in tried]
    waits = f" Not run yet: {', '.join(left)}." if left else ""
    return held(all(fine), any(fine)), (
        f"{'. '.join(sentences)}. (Rule: of every kind, SSIM in their variant above "
        f"{UNRECOGNISABLE}, and ours above the best floor with its whole interval.){waits}"
    )


def _foreign(findings: Findings, data: Data, cut: str) -> dict[str, dict[str, Recovery]]:
    return {kind: by for kind, by in recoveries(findings, data, cut).items() if kind}


def _said(place: tuple[Data, str], found: Mapping[str, Recovery]) -> str:
    """How many kinds are recovered at a cut, and which are not."""
    lost = [f"{kind} ({r.published_ssim:.2f})" for kind, r in found.items() if not r.recovered]
    but = f", not {_listed(lost)}" if lost else ""
    return f"{len(found) - len(lost)} of {len(found)} kinds at {place[1]}{but}"


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
