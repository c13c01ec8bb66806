"""Kill parties of a training at random moments, start them again, compare the weights.

``python tests/kill.py --kills 50`` (``make kill``). One of the kills hits the server between its
update and its reply. Prints what it did; exit code 1 if a weight differs from an undisturbed run.
"""

import argparse
import random
import signal
import subprocess
import sys
import time
from typing import Any

import torch

from cutlayer.cli import main as cutlayer
from cutlayer.federation import serve
from cutlayer.federation.demo import OWNERS, Stage, compare, joins, listens, staged
from cutlayer.wire.members import Exchange

VARIANTS: dict[str, dict[str, Any]] = {
    "hand-over": {},
    "average": {"schedule": "average"},
    "labels at their owners": {"labels": "owner", "schedule": "average"},
    "chain": {"cut": ["act1", "act3"], "relays": ["middle"]},
}

DEATHS = ("HELLO:2", "SAVE:3", "STEP|BACKWARD:7", "POST:2", "POST:3", "FETCH:2")  # KIND:how many
GOOD = ("DONE", "RESULT", "OUTPUT")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--variant", choices=VARIANTS, default="average")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pause", type=float, default=1.5, help="seconds between two, at most")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    changes = {"epochs": arguments.epochs, "checkpoint_every": 4}
    with staged(changes | VARIANTS[arguments.variant]) as stage:
        started = time.perf_counter()
        kills = disturbed(stage, arguments.kills, random.Random(arguments.seed), arguments.pause)
        seconds = time.perf_counter() - started
        differing = compare(stage)
        counts = ", ".join(f"{name} {kills.count(name)}" for name in sorted(set(kills)))
        print(f"{len(kills)} kills in {seconds:.0f} s ({counts})")
        print(f"different: {', '.join(differing)}" if differing else "weights equal, bit for bit")
    return int(bool(differing) or len(kills) < arguments.kills)


def disturbed(stage: Stage, most: int, rng: random.Random, pause: float) -> list[str]:
    """Train under kills; whom they hit. The first hit the server before it replies."""
    commands = {name: listens(stage, name) for name in stage.federation.chain}
    commands |= {name: joins(stage, name) for name in OWNERS}
    hub = stage.federation.chain[0]  # to whom the owners speak
    lives = [[sys.executable, __file__, "--die", how, *commands[hub][3:]] for how in DEATHS]
    lives.append(commands[hub])
    running = {name: _started(c) for name, c in commands.items() if name != hub}
    running[hub] = _started(lives.pop(0))
    kills: list[str] = []
    try:
        while not all(running[name].poll() == 0 for name in OWNERS):
            if running[hub].poll() == -signal.SIGKILL:
                kills.append(hub)  # by itself, between its update and its reply
                running[hub] = _started(lives.pop(0))
            alive = [name for name, process in running.items() if process.poll() is None]
            if not lives and len(kills) < most:
                time.sleep(rng.uniform(0, pause))
                name = rng.choice(alive)
                if running[name].poll() is None:
                    running[name].kill()
                    running[name].wait()
                    kills.append(name)
                    running[name] = _started(commands[name])
            for name, process in running.items():
                if process.poll() not in (None, 0, -signal.SIGKILL):
                    raise SystemExit(f"{name} stopped by itself: exit code {process.returncode}")
            time.sleep(0.1)
    finally:
        for process in running.values():
            process.terminate()
            process.wait()
    return kills


def _started(command: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def die(how: str, argv: list[str]) -> int:
    """Serve, and be killed when so many messages of a kind are carried out, the last unanswered."""
    import os

    wanted, _, after = how.partition(":")
    seen = 0

    def watch(exchange: Exchange) -> None:
        nonlocal seen
        seen += exchange.kind.name in wanted.split("|") and exchange.answer.name in GOOD
        if seen == int(after):
            os.kill(os.getpid(), signal.SIGKILL)

    listening = serve.listening

    def killed(*more: object, **named: object) -> object:
        return listening(*more, **{**named, "watch": watch})  # type: ignore[arg-type]

    serve.listening = killed  # type: ignore[assignment]
    return cutlayer(argv)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--die"]:
        sys.exit(die(sys.argv[2], sys.argv[3:]))
    sys.exit(main())
