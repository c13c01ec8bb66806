"""How much a party may still ask about under a policy, kept by the party itself."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import ConfigError

try:
    import fcntl
except ImportError:  # where the system knows no such locks, one call at a time
    fcntl = None  # type: ignore[assignment]


class Allowance:
    """Samples that were asked about under one policy, over all calls and whoever makes them.

    They are counted before they are sent: a call that fails may have used some up, and none is
    ever sent that was not counted.

    Args:
        folder: Of the party.
        policy: Its ``identity``.
        most: Samples; 0: no limit, and none are counted.
    """

    def __init__(self, folder: Path, policy: str, most: int) -> None:
        self.path, self.most = folder / f"asked-{policy}.json", most

    def check(self, samples: int) -> None:
        """That so many more are allowed; counts none.

        Raises:
            ConfigError: they are not, or the count cannot be read.
        """
        if self.most:
            self._added(self._used(), samples)

    def take(self, samples: int) -> None:
        """Count so many more, on disk before this returns.

        Raises:
            ConfigError: they are not allowed, or the count cannot be kept; none is counted.
        """
        if not self.most:
            return
        try:
            with self._alone():
                self._keep(self._added(self._used(), samples))
        except OSError as e:
            raise ConfigError(
                f"policy: a count of samples in {self.path} wanted: cannot be kept: {e.strerror}; "
                "make the folder of this identity writable: nothing is sent uncounted"
            ) from e

    def _added(self, used: int, samples: int) -> int:
        if used + samples > self.most:
            left = self.most - used
            less = f"--first {left} asks about what is left, or " if left > 0 else ""
            raise ConfigError(
                f"policy: at most {self.most:,} samples wanted: {used:,} were asked about, and now "
                f"{samples:,}; {less}have a larger limit audited"
            )
        return used + samples

    def _used(self) -> int:
        try:
            found = json.loads(self.path.read_text())["samples"]
        except FileNotFoundError:
            return 0
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as e:
            raise ConfigError(self._damaged(str(e))) from e
        if not isinstance(found, int) or isinstance(found, bool) or found < 0:
            raise ConfigError(self._damaged(f"got {found!r:.100}"))
        return found

    def _damaged(self, said: str) -> str:
        return f"policy: a count of samples in {self.path} wanted: {said}; ask your auditor"

    def _keep(self, used: int) -> None:
        aside = self.path.with_suffix(".new")
        with aside.open("w") as file:
            json.dump({"samples": used}, file)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(self.path)
        if hasattr(os, "O_DIRECTORY"):
            folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with self.path.with_suffix(".lock").open("w") as file:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX)
            yield
