"""What each command does, once its flags are read."""

import argparse
import inspect
import json
from collections.abc import Callable, Iterator
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from . import report as reports
from .assembly import Assembly, load_data
from .config import Experiment, parse, settings
from .console import attack_all, shown, write_report
from .described import name_of
from .errors import ConfigError
from .experiment import run_training, with_reference
from .network import bare_model
from .parts import GIVEN, registry
from .planning import estimate
from .record import Store, store_at, to_json
from .split import CutPoints, cut, cut_points
from .threat import THREATS


def _experiment(arguments: argparse.Namespace) -> Experiment:
    raw = settings(vars(arguments))
    for name in ("data", "model", "defence", "attack"):
        if raw.get(name) in ("help", ["help"]):
            raise _Explained(_explain(name))
    if raw.get("threat") == "help":
        raise _Explained("\n".join(f"{m.name}: {m.who} ({m.source})" for m in THREATS.values()))
    return parse(raw)


class _Explained(Exception):  # noqa: N818 - a way out, not an error
    """The user asked what there is."""


def _explain(name: str) -> str:
    """Every built-in name of a field with its arguments and the first line of its docstring."""
    lines = []
    for kind, target in registry(name).items():
        parameters = inspect.signature(target).parameters.values()
        arguments = ",".join(
            p.name if p.default is p.empty else f"{p.name}={p.default}"
            for p in parameters
            if p.name not in GIVEN[name]
        )
        first = (target.__doc__ or "").strip().split("\n")[0]
        lines.append(f"{kind}:{arguments}".rstrip(":") + f"\n    {first}")
    return "\n".join([*lines, "or package.module:Name:argument=value,... of your own"])


def _asked(command: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    def run(arguments: argparse.Namespace) -> int:
        try:
            return command(arguments)
        except _Explained as e:
            print(e)
            return 0

    return run


@_asked
def train(arguments: argparse.Namespace) -> int:
    """``cutlayer train``."""
    console = Console(stderr=True)
    assembly = Assembly.of(_experiment(arguments))
    if arguments.dry_run:
        return _dry_run([assembly], Store(arguments.store), attack=False)
    store = store_at(arguments.store)
    with shown(console) as start:
        record = run_training(
            assembly,
            store,
            every=arguments.checkpoint_every,
            on_progress=start(name_of(assembly.experiment)),
        )
    accuracy = record.utility["accuracy"].value if record.utility else None
    worth = "" if accuracy is None else f", accuracy on the validation share {accuracy:.2%}"
    print(f"{record.id}: {record.training['steps']} steps{worth}")
    print(f"kept in {store.folder(record.id)}")
    return 0


@_asked
def attack(arguments: argparse.Namespace) -> int:
    """``cutlayer attack``."""
    assembly = Assembly.of(_experiment(arguments))
    several = [assembly] if arguments.no_reference else with_reference(assembly)
    if arguments.dry_run:
        return _dry_run(several, Store(arguments.store), attack=True)
    store = store_at(arguments.store)
    records = attack_all(several, store, every=arguments.checkpoint_every)
    Console().print(reports.terminal_table(records))
    print(f"cutlayer report {' '.join(r.id for r in records)} --store {arguments.store}")
    return 0


def _dry_run(several: list[Assembly], store: Store, *, attack: bool) -> int:
    table = Table(title="would run (estimated from a few steps)")
    for column in ("stage", "defence", "steps", "minutes", "wire", "disk", ""):
        table.add_column(column)
    peak, seen = 0, set[str]()
    for assembly in several:
        costs, memory = estimate(assembly, store, attack=attack)
        peak = max(peak, memory)
        for c in costs:
            if c.run in seen:  # several defences in front of one network
                continue
            seen.add(c.run)
            minutes, name = f"{c.seconds / 60:.1f}", name_of(assembly.experiment)
            sizes = (size_in_words(c.wire), size_in_words(c.disk))
            table.add_row(c.stage, name, str(c.steps), minutes, *sizes, c.note)
    Console().print(table)
    print(f"memory: about {size_in_words(peak)}")
    return 0


def size_in_words(n: int) -> str:
    """Bytes for people.

    >>> size_in_words(2048), size_in_words(5 * 2**20)
    ('2.0 KiB', '5.0 MiB')
    """
    size = float(n)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            break
        size /= 1024
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"


@_asked
def cuts(arguments: argparse.Namespace) -> int:
    """``cutlayer cuts``."""
    e = _experiment(arguments)
    if arguments.input_shape:
        try:
            shape = tuple(int(s) for s in arguments.input_shape.split(","))
        except ValueError:
            raise ConfigError(
                f"--input-shape: whole numbers like 3,32,32 wanted: got {arguments.input_shape!r}"
            ) from None
        classes = arguments.classes
    else:
        dataset = load_data(e)
        shape, classes = dataset.shape, len(dataset.classes)
    model = bare_model(e, shape, classes)
    x = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    try:
        found = cut_points(model, x)
        wrong = differing(model, found, x)
    except (ValueError, RuntimeError) as error:
        raise ConfigError(f"model {e.model.kind}: {error}") from error
    if arguments.json:
        print(json.dumps([vars(c) for c in found], default=str))
    else:
        _print_cuts(e, shape, found)
        print(
            f"{len(found)} cuts, each composed of its two segments again and run: "
            + (f"DIFFERENT after {', '.join(wrong)}" if wrong else "all bit-equal to the network")
        )
    return 1 if wrong else 0


def differing(model: torch.nn.Module, found: CutPoints, x: torch.Tensor) -> list[str]:
    """The cuts whose segments, composed, do not give bit for bit what the network gives."""
    model.eval()
    wrong = []
    with torch.no_grad():
        expected = model(x)
        for point in found:
            near, far = cut(model, point.name, x)
            if not torch.equal(far.eval()(near.eval()(x)), expected):
                wrong.append(point.name)
    return wrong


def _print_cuts(e: Experiment, shape: tuple[int, ...], found: CutPoints) -> None:
    table = Table(
        title=f"{e.model} on inputs {shape}: where one tensor crosses",
        caption="bytes: of one message, for one sample; parameters and MFLOPs: before the cut",
    )
    table.add_column("cut after", no_wrap=True)
    table.add_column("kind", overflow="fold")
    table.add_column("message", no_wrap=True)
    for column in ("bytes", "parameters", "MFLOPs"):
        table.add_column(column, justify="right", no_wrap=True)
    for c in found:
        message = "×".join(map(str, c.shape))
        counts = (f"{c.bytes_per_sample:,}", f"{c.parameters:,}", f"{c.flops / 1e6:,.2f}")
        table.add_row(c.name, c.kind, message, *counts)
    Console().print(table)
    if found.note:
        print(found.note)


def report(arguments: argparse.Namespace) -> int:
    """``cutlayer report``."""
    store = Store(arguments.store)
    records = [store.record(run) for run in arguments.runs] or list(store)
    attacks = [r for r in records if r.kind == "attack"]
    attacks.sort(key=lambda r: bool(r.defence.get("parts")))  # undefended first
    if not attacks:
        raise ConfigError(
            f"report: at least one attack run wanted: got {len(records)} runs and none of them in "
            f"{arguments.store}; make one with 'cutlayer attack'"
        )
    page = write_report(store, attacks, arguments.out, title=arguments.title)
    print(f"report: {page}")
    return 0


def convert(arguments: argparse.Namespace) -> int:
    """``cutlayer convert``: the only place where a .pt file is read, and only its tensors."""
    from .convert import convert_weights

    target = arguments.out or arguments.file.with_suffix(".safetensors")
    names = convert_weights(arguments.file, target)
    print(f"{target}: {len(names)} tensors; use it with --weights {target}")
    return 0


def runs_list(arguments: argparse.Namespace) -> int:
    """``cutlayer runs list``."""
    store = Store(arguments.store)
    table, total = Table(box=None, pad_edge=False), 0
    for column in ("run", "what", "data", "accuracy", "SSIM", "size"):
        table.add_column(column, no_wrap=column in ("run", "size"), overflow="fold")
    for record in store:
        total += (size := store.bytes(record.id))
        scores = [record.utility.get("accuracy"), record.leakage.get("ssim")]
        values = ["" if s is None or s.value is None else f"{s.value:.3f}" for s in scores]
        data = str(record.data.get("name", ""))
        table.add_row(record.id, record.name, data, *values, size_in_words(size))
    Console().print(table)
    unfinished = [p for p in store.root.glob(".training/*") if p.is_dir()]
    held = sum(p.stat().st_size for u in unfinished for p in u.rglob("*") if p.is_file())
    print(f"{size_in_words(total)} in {store.root}")
    if unfinished:
        print(f"{size_in_words(held)} in {len(unfinished)} unfinished trainings (resumable)")
    return 0


def runs_show(arguments: argparse.Namespace) -> int:
    """``cutlayer runs show``."""
    record = Store(arguments.store).record(arguments.run)
    print(json.dumps(json.loads(to_json(record)), indent=1))
    return 0


def runs_diff(arguments: argparse.Namespace) -> int:
    """``cutlayer runs diff``: fields that differ, time and host aside."""
    store = Store(arguments.store)
    pair = [dict(flat(store.record(r).findings())) for r in (arguments.run, arguments.other)]
    table = Table()
    for column in ("field", arguments.run, arguments.other):
        table.add_column(column, overflow="fold")
    for key in sorted(pair[0].keys() | pair[1].keys()):
        old, new = (p.get(key, "-") for p in pair)
        if old != new:
            table.add_row(key, shortened(old), shortened(new))
    Console().print(table)
    return 0


def shortened(value: Any) -> str:
    """A leaf as the comparison prints it; a long list by its length.

    >>> shortened([1] * 50), shortened(0.5)
    ('50 values', '0.5')
    """
    return f"{len(value)} values" if isinstance(value, list) and len(value) > 9 else str(value)


def flat(value: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of nested mappings by dotted name; lists stay whole.

    >>> dict(flat({"a": {"b": 1}, "c": [2]}))
    {'a.b': 1, 'c': [2]}
    """
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from flat(inner, f"{at}.{key}" if at else str(key))
    else:
        yield at, value


def runs_remove(arguments: argparse.Namespace) -> int:
    """``cutlayer runs remove``."""
    store = Store(arguments.store)
    names = [store.find(run) for run in arguments.run]
    for name in sorted(names):  # attack runs before the train runs they refer to
        print(f"removed {name}: {size_in_words(store.remove(name))}")
    return 0


def runs_export(arguments: argparse.Namespace) -> int:
    """``cutlayer runs export``: the records, and those of the networks and judges behind them."""
    store = Store(arguments.store)
    wanted = {store.find(run) for run in arguments.run}
    for record in [store.record(run) for run in wanted]:
        judge = record.attack.get("judge", {}).get("id")
        wanted |= {run for run in (record.victim, judge) if run and run in store}
    arguments.out.mkdir(parents=True, exist_ok=True)
    for run in sorted(wanted):
        target = arguments.out / f"{run}.json"
        target.write_text(to_json(store.record(run)) + "\n")
        print(target)
    return 0


@_asked
def demo(arguments: argparse.Namespace) -> int:
    """``cutlayer demo``."""
    if arguments.network:
        from .federation.demo import run_network_demo

        return run_network_demo(arguments)
    from .demo import run_demo

    return run_demo(arguments)


def reproduce(arguments: argparse.Namespace) -> int:
    """``cutlayer reproduce``."""
    from .papers.reproduce import run

    return run(arguments)
