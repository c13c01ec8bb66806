"""Table 7: which attack applies under which knowledge, asked of our threat models."""

from collections.abc import Iterator, Mapping
from typing import Any

from ...attacks import ATTACKS
from ...config import parse
from ...errors import ConfigError
from ...threat import THREATS
from ..tables import Column, Line, Shown, Table, words

# P1, table 7, by threat model; it has no other attacks and no other threat models.
TABLE_7: Mapping[str, Mapping[str, bool]] = {
    "white-box": {"maximum-likelihood": True, "inverse-network": True, "shadow": True},
    "black-box": {"maximum-likelihood": False, "inverse-network": True, "shadow": True},
    "query-free": {"maximum-likelihood": False, "inverse-network": False, "shadow": True},
}
# How else an attack may be used: their shadow learns from queries where there are some.
_OTHERWISE: Mapping[str, tuple[dict[str, Any], ...]] = {
    "shadow": ({"learn_from": "queries", "structure": "auto"},)
}


def accepts(threat: str, attack: str) -> bool:
    """Whether an experiment of that attack under that threat model is taken, in any of its ways."""
    ways = ({}, *_OTHERWISE.get(attack, ()))
    return any(_taken(threat, {"kind": attack, "args": args}) for args in ways)


def _taken(threat: str, attack: Mapping[str, Any]) -> bool:
    try:
        parse({"threat": threat, "attack": attack})
    except ConfigError:
        return False
    return True


def table_7() -> Table:
    """Every threat model by every attack: accepted or refused, and what the paper has."""
    columns = [Column("Threat model", ("threat",), text=True)]
    columns += [Column(kind, (kind, f"{kind} published")) for kind in ATTACKS]
    caption = "✓ accepted, ✗ refused by name; in brackets what table 7 has, where it says something"
    return Table("table-7", caption, tuple(columns), tuple(_lines()))


def _lines() -> Iterator[Line]:
    for threat in (*TABLE_7, *(t for t in THREATS if t not in TABLE_7)):
        marks = [_mark(threat, attack) for attack in ATTACKS]
        yield Line((words(threat), *marks), reference=threat not in TABLE_7)


def _mark(threat: str, attack: str) -> Shown:
    ours, theirs = accepts(threat, attack), TABLE_7.get(threat, {}).get(attack)
    if theirs is None:
        return Shown(_sign(ours), (ours, None))
    text = f"{_sign(ours)} ({_sign(theirs)})"
    return Shown(text, (ours, theirs), mark="" if ours == theirs else "off")


def _sign(mark: bool) -> str:
    return "✓" if mark else "✗"
