"""Distance correlation, value and gradient, against its alternatives and the matrix products.

x (N, 784) without a gradient, z (N, 500) with one, float32: images and the cut of Titcombe et al.
"""

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from benchmarks import Row, interleaved
from cutlayer.metrics import distance_correlation

SIZES = (32, 128, 512, 2048)
X, Z = 784, 500
LIMIT = "bare matrix products"
OURS = "ours"
BROADCAST = "broadcast, autograd"
CDIST = "cdist, autograd"
DCOR = "dcor, forward only"
SQUARED = "ours, exponent 2"
CAP = 4 << 30  # bytes that an alternative may need


def run(repeats: int) -> list[Row]:
    return [row for n in SIZES for row in times(n, repeats)] + peaks(max(SIZES))


def times(n: int, repeats: int) -> list[Row]:
    title = f"distance correlation, forward + backward, N = {n}"
    candidates = {name: build(n) for name, build in BUILDERS.items() if needs(name, n) <= CAP}
    found = interleaved(candidates, repeats=repeats * max(1, 2048 // n))
    bare = found[LIMIT]
    rows: list[Row] = [
        {
            "table": title,
            "what": name,
            "median ms": 1e3 * turns.median,
            "x limit": turns.median / bare.median,
            "fastest ms": 1e3 * turns.fastest,
            "x limit, fastest": turns.fastest / bare.fastest,
        }
        for name, turns in found.items()
    ]
    for name in BUILDERS:
        if name not in candidates:
            rows.append({"table": title, "what": f"{name}: {skipped(name, n)}"})
    return rows


def skipped(name: str, n: int) -> str:
    return f"skipped, {needs(name, n) / 2**30:.0f} GiB"


def peaks(n: int) -> list[Row]:
    """Peak memory over what the inputs take, each in a process of its own (Linux only)."""
    if not Path("/proc/self/status").exists():
        return []
    title = f"distance correlation, peak memory, N = {n}"
    rows: list[Row] = []
    for name in BUILDERS:
        if needs(name, n) > CAP:
            rows.append({"table": title, "what": f"{name}: {skipped(name, n)}"})
            continue
        command = [sys.executable, "-m", __name__, name, str(n), str(torch.get_num_threads())]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        mib = float(done.stdout)
        matrices = mib * 2**20 / (4 * n * n)
        rows.append({"table": title, "what": name, "MiB": mib, "N x N matrices": matrices})
    return rows


def needs(name: str, n: int) -> int:
    """Bytes, roughly, of an alternative that holds the differences of all pairs."""
    copies = {BROADCAST: max(2 * X, 4 * Z), DCOR: X}  # values for each pair
    return 4 * n * n * copies.get(name, 0)


def inputs(n: int) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(n)
    return torch.rand(n, X, generator=g), torch.randn(n, Z, generator=g, requires_grad=True)


def with_gradient(f: Callable[[Tensor, Tensor], Tensor], n: int) -> Callable[[], object]:
    x, z = inputs(n)

    def step() -> None:
        z.grad = None
        f(x, z).backward()

    return step


def limit(n: int) -> Callable[[], object]:
    """Two Gram matrices, one product for the gradient, three passes, into memory that is there."""
    x, z = (t.detach() for t in inputs(n))
    a, b, gradient = torch.empty(n, n), torch.empty(n, n), torch.empty(n, Z)

    def step() -> None:
        torch.mm(x, x.T, out=a)
        torch.mm(z, z.T, out=b)
        a.mul_(0.5)
        b.mul_(0.5)
        b.add_(a)
        torch.mm(b, z, out=gradient)

    return step


def by_dcor(n: int) -> Callable[[], object]:
    """In a process of its own: importing dcor (numba) resets and slows torch's threads."""
    command = [sys.executable, "-m", __name__, "serve-dcor", str(n), str(torch.get_num_threads())]
    served = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def step() -> None:
        assert served.stdin is not None
        assert served.stdout is not None
        print(file=served.stdin, flush=True)
        if not served.stdout.readline():
            raise RuntimeError("the process that runs dcor has ended; is dcor installed?")

    return step


def serve_dcor(n: int) -> None:
    """A value for each line of standard input, until it ends."""
    import dcor

    x, z = (t.detach().numpy() for t in inputs(n))
    for _ in sys.stdin:
        print(dcor.distance_correlation(x, z), flush=True)


def textbook(distances: Callable[[Tensor], Tensor], x: Tensor, z: Tensor) -> Tensor:
    def centred(t: Tensor) -> Tensor:
        d = distances(t)
        return d - d.mean(0) - d.mean(1, keepdim=True) + d.mean()

    a, b = centred(x), centred(z)
    return ((a * b).sum() / ((a * a).sum() * (b * b).sum()).sqrt()).sqrt()


def differences(t: Tensor) -> Tensor:
    squared = (t[:, None] - t[None]).square().sum(2)
    return (squared + torch.eye(len(t))).sqrt() - torch.eye(len(t))  # no infinite slope at 0


BUILDERS: dict[str, Callable[[int], Callable[[], object]]] = {
    LIMIT: limit,
    OURS: partial(with_gradient, distance_correlation),
    SQUARED: partial(with_gradient, partial(distance_correlation, exponent=2)),
    CDIST: partial(with_gradient, partial(textbook, lambda t: torch.cdist(t, t))),
    BROADCAST: partial(with_gradient, partial(textbook, differences)),
    DCOR: by_dcor,
}


def peak(name: str, n: int) -> float:
    """MiB above what is held before, at the highest point of one call."""
    BUILDERS[name](32)()  # loads what is loaded once
    step = BUILDERS[name](n)
    before = status("VmRSS")
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    except OSError:
        before = status("VmHWM")
    step()
    return max(0.0, status("VmHWM") - before)


def status(field: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise OSError(f"/proc/self/status has no {field}")


if __name__ == "__main__":
    what, size, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    if what == "serve-dcor":
        serve_dcor(int(size))
    else:
        print(peak(what, int(size)))
