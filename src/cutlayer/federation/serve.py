"""The computation server, or a relay, as a process that listens."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import grpc

from ..errors import ConfigError
from ..policy import Policy
from ..roles import Role
from ..wire.identity import Credentials, Identity, who
from ..wire.listen import start
from ..wire.mailbox import Mailbox
from ..wire.members import Exchange, Members
from ..wire.remote import RemoteFarSide
from ..wire.service import Service
from ..wire.states import States
from ..wire.turns import Order, Sequence, Turns
from . import covered
from .build import far_party, give_weights
from .file import Federation

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Listening:
    """A party that others can reach."""

    service: Service
    server: grpc.Server
    port: int


def identity_of(credentials: Credentials, f: Federation) -> Identity:
    """Who shows these credentials.

    Raises:
        ConfigError: nobody of this federation.
    """
    try:
        found = who(credentials.certificate)
    except ValueError as e:
        raise ConfigError(f"identity: {e}") from e
    if found.federation != f.federation:
        raise ConfigError(f"identity: a party of {f.federation} wanted: got {found}")
    return found


@contextmanager
def listening(
    f: Federation,
    folder: Path,
    revoked_list: Path,
    store: Path,
    *,
    address: str | None = None,
    watch: Callable[[Exchange], None] = lambda exchange: None,
    weights: Path | None = None,
    policy: Policy | None = None,
) -> Iterator[Listening]:
    """The server or a relay, by the identity in that folder, while the block runs.

    Args:
        address: HOST:PORT to listen on; port 0 for any; by default what the file says.
        watch: Is told of every message.
        weights: Of this party's segment; then nothing is trained, and predictions are answered.
        policy: What is allowed; anything else is refused.

    Raises:
        ConfigError: an identity that is neither, weights of another segment, or something that the
            policy does not cover.
        OSError: the address cannot be had, or the store not be written.
        ValueError: states of another training, credentials that are over.
    """
    credentials = Credentials.load(folder)
    party = identity_of(credentials, f)
    place = f.place_of(party)
    if policy is not None:
        covered.check_file(policy, f, "serve" if weights else "train")
    last = place == len(f.chain) - 1
    with nullcontext() if last else reached(f, f.chain[place + 1], credentials) as behind:
        far = far_party(f, place, behind)
        if weights is not None:
            give_weights(far.module, weights)
            if policy is not None:
                covered.check_weights(policy, far.module, party=place + 1, source=str(weights))
        queries = covered.fewest(f.queries, policy.queries if policy else 0)
        service = Service(
            far,
            session=f.agreed,
            members=_members(f, place),
            order=Sequence() if weights else _order(f, place),
            states=States(store / "states", f.identity, kept=len(f.owners) + 2),
            mailbox=Mailbox(store / "mailbox"),
            limits=f.limits,
            absence=f.absence,
            queries=0 if place else queries,
            trains=weights is None,
            watch=watch,
        )
        if weights is None:
            service.resume()
        where = address or f.address_of(party.name)
        server, port = start(service, credentials, address=where, revoked_list=revoked_list)
        _log.info("%s listens on %s, port %d", party, where, port)
        try:
            yield Listening(service, server, port)
        finally:
            server.stop(1).wait()


def reached(f: Federation, name: str, credentials: Credentials) -> RemoteFarSide:
    """The server or a relay as another party reaches it.

    Raises:
        ConfigError: the file has no address of it.
    """
    role: Role = "server" if name == f.server else "relay"
    party = Identity(f.federation, role, name)
    return RemoteFarSide(f.address_of(name), credentials, limits=f.limits, party=party)


def _order(f: Federation, place: int) -> Order:
    e = f.experiment
    if place:  # behind a relay, which keeps the order
        return Sequence()
    return Turns(len(f.owners), e.passes, e.schedule, f.checkpoint_every)


def _members(f: Federation, place: int) -> Members:
    if place:
        before = frozenset({f.chain[place - 1]})
        return Members(owners={}, relays=before, federation=f.federation)
    owners = {name: number for number, name in enumerate(f.owners)}
    return Members(owners=owners, users=frozenset(f.users), federation=f.federation)
