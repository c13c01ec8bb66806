"""One audit by one process, by two, and by two that are killed again and again: all must agree.

``python tests/kill_audit.py --kills 5`` (``make kill-audit``). Prints what each took; exit code 1
if a recommendation differs from that of one process, or a finished trial was repeated.
"""

import argparse
import os
import random
import subprocess
import tempfile
import time
from pathlib import Path

from audit_processes import asked, end, finished, trained

from cutlayer.auditing.result import Recommendation, from_json


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--pause", type=float, default=30, help="seconds before one, at most")
    parser.add_argument("--defence", action="append", default=[], help="as of cutlayer audit")
    parser.add_argument("--victims", default="500")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        command = asked(trained(folder), arguments.defence, arguments.victims)
        alone = taken(folder / "one", [*command, "--workers", "1"])
        both = taken(folder / "two", [*command, "--workers", "2"])
        print(f"one process {alone:.0f} s, two {both:.0f} s: {both / alone:.2f} of the time")
        rng = random.Random(arguments.seed)
        pauses = [rng.uniform(0, arguments.pause) for _ in range(arguments.kills)]
        killed = taken(folder / "killed", [*command, "--workers", "2"], pauses)
        print(f"killed {arguments.kills} times: {killed:.0f} s")
        return judged([folder / name for name in ("one", "two", "killed")])


def taken(place: Path, command: list[str], pauses: list[float] | None = None) -> float:
    """Seconds of an audit, killed with all its processes after each of these, then left alone."""
    place.mkdir()
    started = time.monotonic()
    for pause in [*(pauses or []), None]:
        with (place / "log").open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=place,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )
            try:
                process.wait(pause)
            except subprocess.TimeoutExpired:
                end(process)
    if process.returncode:
        raise SystemExit(f"exit code {process.returncode}: {(place / 'log').read_text()[-2000:]}")
    return time.monotonic() - started


def judged(places: list[Path]) -> int:
    """Print what came of them; the exit code."""
    found: list[Recommendation] = []
    wrong = []
    for place in places:
        trials = finished(f"sqlite:///{place / 'runs' / 'audit.db'}")
        repeated = [key for key, count in trials.items() if count > 1]
        audit = from_json((place / "audit" / "audit.json").read_text())
        found.append(audit.recommendation)
        print(
            f"{place.name}: {len(trials)} trials finished, {len(repeated)} repeated, "
            f"recommended {audit.recommendation.key}"
        )
        wrong += repeated
    wrong += [f"another recommendation: {other.words}" for other in found if other != found[0]]
    print(found[0].words)
    for line in wrong:
        print(f"WRONG: {line}")
    return int(bool(wrong))


if __name__ == "__main__":
    raise SystemExit(main())
