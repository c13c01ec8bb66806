"""A slow link: a TCP proxy in a process of its own that lets so many bytes pass in a second.

Each direction has a token bucket that all connections share, and counts its bytes: what a link
would carry, encryption and headers included, but for those of IP and TCP. No delay is added: a
byte takes as long as the link is busy with it and with those before it.
"""

import json
import math
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Self

CHUNK = 8192  # bytes that pass at once
OVERSLEPT = 2e-3  # seconds of a busy link that are made up for; an idle one saves up nothing


class Link:
    """The proxy as whoever measures sees it.

    Args:
        targets: Ports of this machine behind it; ``ports`` has those to use instead.
    """

    def __init__(self, targets: Sequence[int]) -> None:
        pipe = subprocess.PIPE
        command = [sys.executable, "-m", __name__, *map(str, targets)]
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        self.ports: dict[int, int] = dict(zip(targets, self._read(), strict=True))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.communicate()  # it ends with its input

    def carries(self, megabits: float | None) -> None:
        """So much in a second, in each direction; ``None``: as much as comes."""
        self._asked({"rate": megabits and megabits * 1e6 / 8})

    def passed(self, target: int) -> tuple[int, int]:
        """Bytes to that target so far, and from it."""
        up, down = self._asked({"target": target})
        return up, down

    def _asked(self, wanted: Mapping[str, object]) -> list[int]:
        assert self._process.stdin is not None
        print(json.dumps(wanted), file=self._process.stdin, flush=True)
        return self._read()

    def _read(self) -> list[int]:
        assert self._process.stdout is not None
        found: list[int] = json.loads(self._process.stdout.readline())
        return found


class Bucket:
    """One direction."""

    def __init__(self) -> None:
        self.rate: float = math.inf  # bytes in a second
        self._lock, self._free = threading.Lock(), 0.0

    def take(self, count: int) -> None:
        """Wait until so many bytes have passed."""
        with self._lock:
            now = time.perf_counter()
            begin = self._free if now - self._free < OVERSLEPT else now
            self._free = begin + count / self.rate
            wait = self._free - now
        if wait > 0:
            time.sleep(wait)


def main(targets: Sequence[int]) -> None:
    """Pass on until the input ends; what is asked there is answered on the output."""
    buckets = Bucket(), Bucket()
    passed = {target: [0, 0] for target in targets}
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in targets]
    for listener, target in zip(listeners, targets, strict=True):
        _thread(_accept, listener, target, buckets, passed[target])
    print([listener.getsockname()[1] for listener in listeners], flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        if "rate" in asked:
            for bucket in buckets:
                bucket.rate = asked["rate"] or math.inf
        print(passed.get(asked.get("target"), []), flush=True)


def _accept(
    listener: socket.socket, target: int, buckets: tuple[Bucket, Bucket], passed: list[int]
) -> None:
    while True:
        near, _ = listener.accept()
        far = socket.create_connection(("127.0.0.1", target))
        for number, pair in enumerate(((near, far), (far, near))):
            _thread(_pump, *pair, buckets[number], passed, number)


def _pump(
    source: socket.socket, sink: socket.socket, bucket: Bucket, passed: list[int], number: int
) -> None:
    """Pass on what comes from one side until it hangs up."""
    sink.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        while data := source.recv(CHUNK):
            bucket.take(len(data))
            passed[number] += len(data)
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:  # the other side hung up
        pass


def _thread(target: object, *arguments: object) -> None:
    threading.Thread(target=target, args=arguments, daemon=True).start()  # type: ignore[arg-type]


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]])
