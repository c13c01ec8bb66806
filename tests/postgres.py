"""One audit by two machines' worth of processes against a real PostgreSQL; one is killed midway.

``python tests/postgres.py``, as root, on Debian: installs ``postgresql`` if there is none, starts a
server of its own in a temporary folder, and ends it. Each machine is a process with a folder, a
process namespace and a host name of its own, so that neither can look the other up. Exit code 1 if
a finished trial was lost or repeated, or the survivor has no recommendation.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from audit_processes import asked, end, finished, trained

from cutlayer.auditing.result import from_json

_BEGAN = time.monotonic()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kill-after", type=int, default=12, help="finished trials")
    parser.add_argument("--defence", action="append", default=[], help="as of cutlayer audit")
    parser.add_argument("--victims", default="100")
    arguments = parser.parse_args()
    if os.name != "posix" or os.geteuid():
        print("root on Debian wanted: it installs and starts PostgreSQL", file=sys.stderr)
        return 2
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o755)
        storage = stack.enter_context(postgresql(folder / "database"))
        weights = trained(folder)
        said(f"network trained; database {storage}")
        command = asked(weights, arguments.defence or ["laplace", "dropout"], arguments.victims)
        crew = [machine(folder, n, storage, command) for n in (1, 2)]
        stack.callback(lambda: [end(p) for p in crew])
        while len(finished(storage)) < arguments.kill_after and all(p.poll() is None for p in crew):
            time.sleep(0.2)
        before = finished(storage)
        end(crew[1])
        said(f"machine 2 killed after {len(before)} finished trials")
        code = crew[0].wait()
        said(f"machine 1 ended with exit code {code}")
        return judged(folder, before, finished(storage), code)


def judged(folder: Path, before: Counter[str], after: Counter[str], code: int) -> int:
    """Print what came of it; the exit code."""
    lost = [key for key in before if key not in after]
    repeated = [key for key, count in after.items() if count > 1]
    audit = from_json((folder / "machine1" / "audit" / "audit.json").read_text())
    failed = [line for line in audit.not_examined if "failed" in line]
    print(f"{len(after)} trials finished, {len(lost)} lost, {len(repeated)} repeated")
    print(f"recommended: {audit.recommendation.key}")
    print(audit.recommendation.words)
    wrong = [*lost, *repeated, *failed]
    for line in wrong:
        print(f"WRONG: {line}")
    return int(bool(wrong or code or audit.recommendation.key is None))


def machine(
    folder: Path, number: int, storage: str, command: list[str]
) -> "subprocess.Popen[bytes]":
    """An audit with a process namespace and a host name of its own."""
    own = folder / f"machine{number}"
    own.mkdir()
    audit = [*command, "--workers", "1", "--storage", storage]
    apart = ["unshare", "--pid", "--fork", "--mount-proc", "--uts", "--kill-child", "sh", "-c"]
    script = f'hostname machine{number} && exec "$@"'
    with (own / "log").open("wb") as log:
        return subprocess.Popen(
            [*apart, script, "sh", *audit],
            cwd=own,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )


@contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """A server of our own, reached by a socket in its folder; its URL."""
    programs = installed()
    folder.mkdir()
    shutil.chown(folder, "postgres", "postgres")
    as_postgres = ["runuser", "-u", "postgres", "--"]
    data = folder / "data"
    quiet = {"check": True, "stdout": subprocess.DEVNULL, "cwd": folder}
    subprocess.run([*as_postgres, programs / "initdb", "-A", "trust", "-D", data], **quiet)  # type: ignore[call-overload]
    options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
    control = [*as_postgres, programs / "pg_ctl", "-D", data, "-w", "-l", folder / "log"]
    subprocess.run([*control, "-o", options, "start"], **quiet)  # type: ignore[call-overload]
    try:
        created = [*as_postgres, programs / "createdb", "-h", folder, "audit"]
        subprocess.run(created, **quiet)  # type: ignore[call-overload]
        yield f"postgresql+psycopg://postgres@/audit?host={folder}"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], **quiet)  # type: ignore[call-overload]


def installed() -> Path:
    """The folder of PostgreSQL's programs; Debian's package is installed if there is none."""

    def found() -> list[Path]:
        return sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))

    if not found():
        get = ["apt-get", "install", "-y", "-qq", "postgresql"]
        env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "update", "-qq"], check=True, env=env)
        subprocess.run(get, check=True, env=env, stdout=subprocess.DEVNULL)
        said("installed Debian's postgresql")
    return found()[-1].parent


def said(text: str) -> None:
    """With the time since the beginning."""
    print(f"{time.monotonic() - _BEGAN:5.0f} s  {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
