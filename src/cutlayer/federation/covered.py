"""What a policy covers: everything else is refused before anything is sent."""

from collections.abc import Sequence

from torch import nn

from .. import network
from ..errors import ConfigError
from ..parts import Part, each_constructed
from ..policy import Phase, Policy, checksum
from .file import Federation
from .user import Served

_ANOTHER = "take the file that was audited, or have this one audited"


def check_file(policy: Policy, f: Federation, phase: Phase) -> None:
    """That the file of a federation describes what was audited.

    Args:
        phase: What is about to be done.

    Raises:
        ConfigError: everything that differs, one line each.
    """
    wanted = {
        "federation": policy.federation,
        "model": policy.model,
        "cut": policy.cut,
        "input_shape": policy.input_shape,
        "outputs": policy.outputs,
        "bounds": policy.bounds,
    }
    got = {
        "federation": f.federation,
        "model": str(f.experiment.model),
        "cut": tuple(network.cut_after(f.experiment)),
        "input_shape": f.input_shape,
        "outputs": f.outputs,
        "bounds": f.bounds,
    }
    faults = [
        f"policy: {name} {_said(wanted[name])} wanted in the federation's file: "
        f"got {_said(got[name])}; {_ANOTHER}"
        for name in wanted
        if wanted[name] != got[name]
    ]
    if phase not in policy.phases:
        faults.append(
            "policy: one that covers training wanted: this one covers the audited weights alone; "
            "serve those with --weights, or have a training under these defences audited"
        )
    if phase == "train" and policy.audit.get("protect") == "class" and f.labels == "server":
        faults.append(
            "policy: labels: owner wanted in the federation's file, since the class must stay "
            "hidden: got labels: server, which sends it every label"
        )
    if faults:
        raise ConfigError("\n".join(faults))


def agreed_defences(policy: Policy | None, given: Sequence[str]) -> tuple[Part, ...]:
    """What an owner does before it sends: as given, or where nothing is, as the policy has it.

    Raises:
        ConfigError: the policy wants other defences; or no such defence.
    """
    if policy is None:
        return each_constructed(given)
    found = each_constructed(given or policy.defence)
    check_defences(policy, found, source="--defence")
    return found


def check_defences(policy: Policy, found: Sequence[Part], *, source: str) -> None:
    """That these are the policy's, in its order and with its strengths.

    Raises:
        ConfigError: they are others.
    """
    got = tuple(map(str, found))
    if got != policy.defence:
        raise ConfigError(
            f"policy: {_listed(policy.defence)} wanted: got {_listed(got)} by {source}; only what "
            "was audited is sent: do as the policy says, or have the other audited"
        )


def check_weights(policy: Policy, segment: nn.Module, *, party: int, source: str) -> None:
    """That a segment has the audited weights, where the policy names any.

    Args:
        party: Whose segment: 0 is the owner's, 1 the one next to it.

    Raises:
        ConfigError: other weights.
    """
    if policy.weights is None:
        return
    wanted = (policy.weights.owner, *policy.weights.far)[party]
    if (got := checksum(segment.state_dict())) != wanted:
        raise ConfigError(
            f"policy: weights of checksum {wanted[:12]}… wanted: got {got[:12]}… from {source}; "
            "take the file that the audit wrote, or have these audited"
        )


def check_served(policy: Policy, served: Served, *, source: str) -> None:
    """That an owner's side does what was audited, with the weights that were.

    Raises:
        ConfigError: everything that differs, one line each.
    """
    segment, faults = served.defended.segment, []
    try:
        check_defences(policy, served.defence, source=source)
    except ConfigError as e:
        faults.append(str(e))
    try:
        check_weights(policy, segment, party=0, source=source)
    except ConfigError as e:
        faults.append(str(e))
    if faults:
        raise ConfigError("\n".join(faults))


def fewest(*limits: int) -> int:
    """The smallest of several limits, of which 0 is none.

    >>> fewest(0, 7, 5), fewest(0, 0)
    (5, 0)
    """
    return min((limit for limit in limits if limit), default=0)


def _said(value: object) -> str:
    if value is None:
        return "none"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _listed(defence: Sequence[str]) -> str:
    return f"defence {', then '.join(defence)}" if defence else "no defence"
