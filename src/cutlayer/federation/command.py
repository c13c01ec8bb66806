"""``cutlayer serve``, ``relay``, ``join``, ``admit``, ``predict``, ``health``."""

import argparse
import csv
import json
import logging
import os
import signal
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..data import Dataset
from ..draws import LEAST
from ..errors import ConfigError
from ..policy import Policy
from ..policy import read as read_policy
from ..tensor_file import load_tensors, save_tensors
from ..wire import FarSide
from ..wire.identity import Credentials, revoked
from ..wire.remote import RemoteFarSide
from ..wire.states import States
from . import build, covered
from . import serve as serving
from .allowance import Allowance
from .file import Federation, read
from .letters import Correspondence, final_letter
from .member import Member
from .metrics import LeakageMeter, ServerMetrics, shown
from .user import Served, about_final


def serve(arguments: argparse.Namespace) -> int:
    """``cutlayer serve``: until it is stopped."""
    return _listen(arguments, "server")


def relay(arguments: argparse.Namespace) -> int:
    """``cutlayer relay``: until it is stopped."""
    return _listen(arguments, "relay")


def _listen(arguments: argparse.Namespace, role: str) -> int:
    f, stop = _prepared(arguments), _stopped()
    credentials = Credentials.load(arguments.identity)
    found = serving.identity_of(credentials, f)
    if found.role != role:
        raise ConfigError(f"identity: a {role} wanted: got {found}")
    with ExitStack() as stack:
        more: dict[str, Any] = {"address": arguments.address, "weights": arguments.weights}
        more["policy"] = _policy(arguments, credentials)
        if arguments.metrics:
            more["watch"] = metrics = ServerMetrics(f)
            stack.enter_context(shown(metrics.registry, arguments.metrics))
        where = (arguments.identity, arguments.revoked, arguments.store)
        listening = stack.enter_context(serving.listening(f, *where, **more))
        print(f"{found} listens on port {listening.port}; Ctrl-C stops it", flush=True)
        stop.wait()
    after = "from the last checkpoint" if arguments.weights is None else "as it was"
    print(f"stopped; the same command goes on {after}")
    return 0


def join(arguments: argparse.Namespace) -> int:
    """``cutlayer join``: until the training is over."""
    f = _prepared(arguments)
    credentials = Credentials.load(arguments.identity)
    number = f.number_of(serving.identity_of(credentials, f))
    policy = _policy(arguments, credentials)
    if policy is not None:
        covered.check_file(policy, f, "train")
    defence = covered.agreed_defences(policy, arguments.defence)
    dataset = build.data_of(f, arguments.data, arguments.data_root)
    secret = build.own_secret(arguments.store / "secret.key")
    owner = build.owner(f, number, _share(dataset, "train"), defence, secret)
    with ExitStack() as stack:
        remote = stack.enter_context(serving.reached(f, f.chain[0], credentials))
        letters = _letters(f, number, credentials, remote, arguments.revoked)
        states = States(arguments.store / "states", f.identity)
        far: FarSide = remote
        if arguments.metrics:
            far = meter = LeakageMeter(remote, owner.defended)
            stack.enter_context(shown(meter.registry, arguments.metrics))
        far = build.as_labels_are(f, far)
        member = Member(f, owner, remote, far, letters, states, _Said(f.experiment.passes))
        member.train()
        save_tensors(owner.module.state_dict(), arguments.store / "segment.safetensors")
        about = about_final([str(part) for part in defence], dataset.classes)
        (arguments.store / "about.json").write_text(json.dumps(about) + "\n")
        print(f"trained; the segment is in {arguments.store / 'segment.safetensors'}")
        if member.holds_final:
            _admitted(letters.leave_final(owner.module.state_dict(), about))
    return 0


def admit(arguments: argparse.Namespace) -> int:
    """``cutlayer admit``."""
    f = _prepared(arguments)
    credentials = Credentials.load(arguments.identity)
    number = f.number_of(serving.identity_of(credentials, f))
    try:
        state = load_tensors(arguments.store / "segment.safetensors")
        about = json.loads((arguments.store / "about.json").read_text())
    except OSError as e:
        raise ConfigError(f"{arguments.store}: a trained segment wanted: 'cutlayer join'") from e
    with serving.reached(f, f.chain[0], credentials) as remote:
        letters = _letters(f, number, credentials, remote, arguments.revoked)
        _admitted(letters.leave_final(state, about))
    return 0


def predict(arguments: argparse.Namespace) -> int:
    """``cutlayer predict``."""
    f = _prepared(arguments)
    credentials = Credentials.load(arguments.identity)
    policy = _policy(arguments, credentials)
    if policy is not None:
        covered.check_file(policy, f, "serve")
    dataset = build.data_of(f, arguments.data, arguments.data_root)
    x, y = _share(dataset, "test")
    if arguments.first:
        x, y = x[: arguments.first], y[: arguments.first]
    with serving.reached(f, f.chain[0], credentials) as remote:
        served = _served(f, arguments, policy, dataset.classes, remote, credentials)
        if policy is not None:
            allowance = Allowance(arguments.identity, policy.identity, policy.queries)
            allowance.check(len(x))
            served.allow = allowance.take
        found = torch.cat(list(served.predict(x, remote, batch_size=arguments.batch_size)))
    right = float((found.argmax(1) == y).float().mean())
    print(f"{len(x)} predictions; {right:.2%} are as the data set's labels say")
    if arguments.out:
        _write(arguments.out, found, served.classes)
        print(f"written to {arguments.out}")
    return 0


def _served(
    f: Federation,
    arguments: argparse.Namespace,
    policy: Policy | None,
    classes: tuple[str, ...],
    remote: RemoteFarSide,
    credentials: Credentials,
) -> Served:
    """The owner's side: from a file, or as an owner's letter has it."""
    secret = os.urandom(LEAST)
    if arguments.weights is not None:
        defence = covered.agreed_defences(policy, arguments.defence)
        served = Served.given(f, arguments.weights, defence, classes, secret)
        source = str(arguments.weights)
    elif arguments.defence:
        raise ConfigError("--defence: --weights wanted with it: an owner's letter names its own")
    else:
        state, about = final_letter(f, credentials, remote, _without(arguments.revoked))
        served, source = Served.opened(f, state, about, secret), "the owner's letter"
    if policy is not None:
        covered.check_served(policy, served, source=source)
    return served


def health(arguments: argparse.Namespace) -> int:
    """``cutlayer health``."""
    f = read(arguments.federation)
    with serving.reached(f, f.chain[0], Credentials.load(arguments.identity)) as remote:
        remote.patience = 5.0
        print(json.dumps(remote.health(), indent=1))
    return 0


class _Said:
    """A line for each epoch, at its end."""

    def __init__(self, epochs: int) -> None:
        self.epochs, self._losses = epochs, list[float]()

    def __call__(self, epoch: int, done: int, steps: int, loss: float) -> None:
        self._losses.append(loss)
        if done == steps:
            mean = sum(self._losses) / len(self._losses)
            self._losses.clear()
            print(f"epoch {epoch + 1} of {self.epochs}: loss {mean:.4f}", flush=True)


def _prepared(arguments: argparse.Namespace) -> Federation:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if threads := getattr(arguments, "threads", 0):
        torch.set_num_threads(threads)
    return read(arguments.federation)


def _policy(arguments: argparse.Namespace, credentials: Credentials) -> Policy | None:
    if arguments.policy is None:
        return None
    taken = _without(arguments.revoked)
    found = read_policy(arguments.policy, authority=credentials.authority, revoked=taken)
    defence = ", then ".join(found.defence) or "no defence"
    print(f"under policy {found.identity} of {found.issued}: {defence}", flush=True)
    return found


def _letters(
    f: Federation, number: int, credentials: Credentials, remote: RemoteFarSide, taken: Path | None
) -> Correspondence:
    return Correspondence(f, number, credentials, remote, _without(taken))


def _without(path: Path | None) -> frozenset[int]:
    return revoked(path) if path else frozenset()


def _share(dataset: Dataset, part: str) -> tuple[Tensor, Tensor]:
    """The published part of that name; everything where there is none."""
    first, end = dataset.parts.get(part, (0, len(dataset)))
    return dataset.take(torch.arange(first, end))


def _admitted(users: Sequence[str]) -> None:
    if users:
        print(f"users who can read the segment: {', '.join(users)}")
    else:
        print("no user has come yet: 'cutlayer admit' sends the segment to who comes later")


def _write(path: Path, found: Tensor, classes: Sequence[str]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["sample", "class", "confidence"])
        for i, row in enumerate(found):
            best = int(row.argmax())
            name = classes[best] if best < len(classes) else str(best)
            writer.writerow([i, name, f"{float(row[best]):.4f}"])


def _stopped() -> threading.Event:
    """Set by Ctrl-C and by SIGTERM."""
    stop = threading.Event()

    def note(signum: int, frame: Any) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, note)
    return stop
