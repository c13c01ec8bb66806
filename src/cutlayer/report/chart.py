"""What the interactive figure draws, as JSON; its numbers are those of the records."""

from typing import Any

from ..record import Estimate
from .reading import (
    NONE,
    Setting,
    attacker,
    heard,
    interval,
    is_undefended,
    metric,
    number,
)


def chart(setting: Setting) -> dict[str, Any]:
    """Points, floors and the metrics to choose from."""
    floors = dict.fromkeys(floor for r in setting.runs for floor in r.floors)
    common = setting.common_floors()
    return {
        "name": setting.name,
        "primary": setting.primary,
        "worth": setting.worth,
        "utilities": {
            n: {"label": metric(n).label, "leaks": metric(n).leaks}
            for n in setting.utility
            if n != "ece"
        },
        "metrics": {
            n: {"label": metric(n).label, "unit": metric(n).unit, "leaks": metric(n).leaks}
            for n in setting.measured
        },
        "runs": [
            {
                "label": setting.labels[r.id],
                "undefended": is_undefended(r),
                "utility": {n: _spread(s) for n, s in r.utility.items()},
                "leakage": {n: _spread(s) for n, s in r.leakage.items()},
                "floors": {f: {n: s.value for n, s in v.items()} for f, v in r.floors.items()},
                "lines": _lines(setting, r),
            }
            for r in setting.runs
        ],
        "common": [f for f in floors if f in common],
        "apart": [f for f in floors if f not in common],
    }


def _spread(e: Estimate) -> list[float | None]:
    return [e.value, e.low, e.high]


def _lines(setting: Setting, r: Any) -> list[str]:
    """All the numbers of a run, for the hover box."""
    lines = [f"{attacker(r)} by {r.threat.get('name', '?')}, {heard(r)}"]
    for name, e in [*r.utility.items(), *((n, r.leakage.get(n, NONE)) for n in setting.measured)]:
        spread = interval(name, e)
        value = f"{number(name, e.value)} {metric(name).unit}".strip()
        lines.append(f"{metric(name).label}: {value}" + (f" ({spread})" if spread else ""))
    if setting.flags[r.id]:
        lines.append("flags: " + ", ".join(setting.flags[r.id]))
    return lines
