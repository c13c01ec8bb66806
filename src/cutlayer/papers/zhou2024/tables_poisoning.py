"""What is to be seen of the poisoning itself: its vectors, its gradients, its price."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..findings import Findings
from ..tables import Column, Line, Shown, Table, value, words
from .charts import descent_charts, vector_charts
from .defences import compared
from .section import WAITS, Section
from .tasks import DEFENSIVE, SHOWN


def vector_section(findings: Findings) -> Section:
    about = (
        "Their figure 3: poisoned vectors beside clean ones of the same inputs, in two dimensions. "
        "Pictures can deceive, so a classifier is asked as well: trained on the attacker's own "
        "vectors of both kinds, how well does it tell those of the victims apart? 0.5 is chance, "
        "1 is certainty. Attackers look at logarithms."
    )
    columns = (
        Column("MNIST", ("defence",), text=True),
        Column("vectors", ("told_apart_vectors",), "Told apart", "area under ROC"),
        Column("logarithms", ("told_apart_logarithms",), "Told apart", "area under ROC"),
    )
    lines = []
    for d in compared("mnist"):
        if d.name not in SHOWN:
            continue
        kept = findings.get(f"mnist/vectors/{d.name}")
        told = {} if kept is None else kept["told_apart"]
        cells = [value(told.get(k), 3, ran=kept is not None) for k in ("vectors", "logarithms")]
        lines.append(Line((words(d.label), *cells)))
    sheet = Table("told-apart", "", columns, tuple(lines))
    charts = tuple(vector_charts(findings))
    return Section("vectors", "Do poisoned vectors look like clean ones?", about, (sheet,), charts)


def proposition_section(findings: Findings) -> Section:
    about = (
        "An attacker's training by plain gradient descent on clean vectors, on noise of budget "
        "0.02 and on LPA of the same; at every step the defender's loss is looked at as well. "
        "Proposition 1, as far as it could be had: where the two gradients point alike enough, the "
        "step lowers the defensive loss."
    )
    columns = (
        Column("Defensive loss, released", ("loss", "released"), text=True),
        Column("first epoch", ("cosine_first",), "Cosine"),
        Column("last epoch", ("cosine_last",), "Cosine"),
        Column("meet the condition", ("condition",), "Steps", "%"),
        Column("lower the loss", ("fell",), "Steps", "%"),
        Column("of those that meet it", ("fell_where_met",), "Steps", "%"),
        Column("before", ("loss_before",), "Defensive loss"),
        Column("after", ("loss_after",), "Defensive loss"),
        Column("after", ("error_after",), "Error"),
    )
    lines = []
    for loss in DEFENSIVE:
        kept = findings.get(f"mnist/proposition/{loss}")
        for name, label in _RELEASED.items():
            head = Shown(f"{loss}, {label}", (loss, name))
            cells = [WAITS] * 8 if kept is None else _descent(kept[name])
            lines.append(Line((head, *cells)))
    charts = tuple(descent_charts(findings))
    sheet = Table("proposition", "", columns, tuple(lines))
    return Section("proposition", "Proposition 1, measured", about, (sheet,), charts)


_RELEASED = {"clean": "clean vectors", "gaussian": "Gaussian noise", "lpa": "LPA"}


def _descent(found: Mapping[str, Any]) -> Sequence[Shown]:
    cosine, losses, errors = (found[k] for k in ("cosine", "defensive_loss", "error"))
    shares = [found[k] for k in ("condition", "fell", "fell_where_met")]
    return [
        value(cosine[0], 3),
        value(cosine[-1], 3),
        *(value(None if s is None else 100 * s, 1) for s in shares),
        value(losses[0], 1),
        value(losses[-1], 1),
        value(errors[-1], 4),
    ]


def latency_section(findings: Findings) -> Section:
    about = (
        "Milliseconds for each query, medians of one run, one query at a time and 250 together. "
        "LPA takes 20 steps for every answer. The classifier is the bare network."
    )
    columns = (
        Column("MNIST", ("what",), text=True),
        Column("one", ("ms_1",), "Milliseconds", "query"),
        Column("250", ("ms_250",), "Milliseconds", "queries together"),
        Column("one", ("ratio_1",), "LPA takes", "× as long"),
        Column("250", ("ratio_250",), "LPA takes", "× as long"),
    )
    kept = findings.get("mnist/latency/all")
    if kept is None:
        line = Line((words("everything"), *[WAITS] * 4))
        return Section(
            "latency", "What an answer costs", about, (Table("latency", "", columns, (line,)),)
        )
    took = kept["milliseconds"]
    lines = []
    for name, ms in took.items():
        ratios = [took["lpa"][n] / ms[n] for n in ("1", "250")]
        cells = [value(ms[n], 4) for n in ("1", "250")]
        cells += [Shown(f"{r:,.0f}" if r >= 10 else f"{r:.1f}", (r,)) for r in ratios]
        lines.append(Line((words(name), *cells)))
    return Section(
        "latency", "What an answer costs", about, (Table("latency", "", columns, tuple(lines)),)
    )
