"""Run the benchmarks of this folder, print their tables, write a record if asked."""

import argparse
import importlib
import json
import os
import pkgutil
import platform
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

import benchmarks
from benchmarks import Row


def main(arguments: Sequence[str] | None = None) -> None:
    known = sorted(m.name for m in pkgutil.iter_modules(benchmarks.__path__) if m.name[0] != "_")
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", nargs="*", help=f"which ones: {', '.join(known)}; default all")
    parser.add_argument("--repeats", type=int, default=5, help="turns of the slowest sizes")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path, metavar="FILE", help="write a record there")
    options = parser.parse_args(arguments)
    if unknown := set(options.name) - set(known):
        parser.error(f"no benchmark named {', '.join(sorted(unknown))}: there are {known}")
    if options.repeats < 1 or options.threads < 1:
        parser.error("--repeats and --threads of at least 1 wanted")

    torch.set_num_threads(options.threads)
    record: dict[str, object] = {"environment": environment(), "benchmarks": {}}
    console = Console()
    console.print(" · ".join(f"{k} {v}" for k, v in environment().items()))
    results: dict[str, list[Row]] = {}
    for name in options.name or known:
        results[name] = importlib.import_module(f"benchmarks.{name}").run(options.repeats)
        for table in tables(results[name]):
            console.print(table)
    if options.json:
        record["benchmarks"] = results
        options.json.write_text(json.dumps(record, indent=1, allow_nan=False) + "\n")


def environment() -> dict[str, object]:
    """What a figure depends on, beside the code."""
    return {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "kernels": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }


def tables(rows: Sequence[Row]) -> list[Table]:
    """One table for each title, a column for each key."""
    result = []
    for title in dict.fromkeys(row.get("table") for row in rows):
        group = [row for row in rows if row.get("table") == title]
        columns = [c for c in dict.fromkeys(key for row in group for key in row) if c != "table"]
        table = Table(title=str(title or ""), title_justify="left")
        for column in columns:
            words = all(isinstance(row.get(column), str) for row in group)
            table.add_column(column, justify="left" if words else "right")
        for row in group:
            table.add_row(*(cell(row.get(column)) for column in columns))
        result.append(table)
    return result


def cell(value: str | float | None) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    return str(value)


if __name__ == "__main__":
    main()
