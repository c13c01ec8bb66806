"""Fetch a published file: checked, resumed where the connection was cut, never half in place."""

import hashlib
import os
import shutil
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

CHUNK = 1 << 20


def data_root(root: Path | None) -> Path:
    """The folder where published files are or go: the platform's cache unless the user says so."""
    if root is not None:
        return Path(root).expanduser()
    import pooch

    return Path(pooch.os_cache("cutlayer"))


def find(name: str, folders: Iterable[Path], *, suffixes: Iterable[str] = ("",)) -> Path | None:
    """The first file called ``name`` plus a suffix in the given folders."""
    candidates = (folder / (name + suffix) for folder in folders for suffix in suffixes)
    return next((path for path in candidates if path.is_file()), None)


def missing(wanted: str, folders: Iterable[Path], url: str) -> FileNotFoundError:
    """The error for a file that is not there and may not be downloaded."""
    places = ", ".join(str(f) for f in folders)
    return FileNotFoundError(
        f"{wanted} wanted: found in none of {places}; allow the download (download=true), "
        f"or put the file there yourself from {url}, or point the data root at where it is"
    )


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def fetch(url: str, to: Path, *, md5: str, attempts: int = 4, pause: float = 1.0) -> Path:
    """Download ``url`` to ``to`` and check it. What arrived before a cut stays in ``to``.part.

    Args:
        md5: What the file must hash to, in hexadecimal.
        attempts: Connections to try before giving up; each goes on where the last one ended.
        pause: Seconds before the second attempt; twice that before the third, and so on.

    Raises:
        ConnectionError: no network, or the server refuses; says which file to put where.
        ValueError: the file is not the published one; it is deleted.
        OSError: the folder cannot be written, or the disk is full.
    """
    import pooch
    import requests
    import urllib3

    to.parent.mkdir(parents=True, exist_ok=True)
    downloader = Resuming(to.with_name(to.name + ".part"), attempts=attempts, pause=pause)
    try:
        pooch.retrieve(url, f"md5:{md5}", fname=to.name, path=to.parent, downloader=downloader)
    except (requests.RequestException, urllib3.exceptions.HTTPError) as e:
        raise ConnectionError(
            f"could not download {to.name} ({e}); download {url} by any other means and put it "
            f"at {to}, or point the data root at a folder that has it"
        ) from e
    except ValueError as e:  # pooch: expected … but got …
        raise ValueError(
            f"{e} Try again; if it stays so, the publisher's file at {url} has changed: get the "
            f"published one elsewhere and put it at {to}"
        ) from e
    return to


class Resuming:
    """A pooch downloader that goes on from a ``.part`` file with an HTTP range request.

    A server that ignores the range sends the whole file, and that is taken instead. Bytes are
    kept as they come: a ``.gz`` sent with ``Content-Encoding: gzip`` is not unpacked on the way.
    """

    def __init__(self, part: Path, *, attempts: int, pause: float) -> None:
        self.part = part
        self.attempts = attempts
        self.pause = pause

    def __call__(self, url: str, output_file: str, pooch: object) -> None:
        import requests
        import urllib3

        for attempt in range(1, self.attempts + 1):
            try:
                self._connect(url)
                break
            except (requests.RequestException, urllib3.exceptions.HTTPError) as e:
                status = getattr(getattr(e, "response", None), "status_code", 500)
                if attempt == self.attempts or (400 <= status < 500 and status != 429):
                    raise
                time.sleep(self.pause * attempt)
        os.replace(self.part, output_file)

    def _connect(self, url: str) -> None:
        """One request; returns when the part is whole, raises when the connection was cut."""
        import requests

        have = self.part.stat().st_size if self.part.exists() else 0
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        with requests.get(url, headers=headers, stream=True, timeout=30) as response:
            if response.status_code == 416:  # nothing left to send, or the part is not of this file
                if response.headers.get("Content-Range", "").endswith(f"/{have}"):
                    return
                self.part.unlink()
                raise requests.ConnectionError(f"{self.part.name} was longer than the file")
            response.raise_for_status()
            resumed = response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
            start = have if response.status_code == 206 and resumed else 0
            if response.status_code == 206 and not resumed:
                self.part.unlink()
                raise requests.ConnectionError("the server sent another range than asked for")
            length = response.headers.get("Content-Length")
            total = start + int(length) if length else None
            with (
                self.part.open("ab" if start else "wb") as file,
                _progress(url, start, total) as show,
            ):
                for chunk in response.raw.stream(CHUNK, decode_content=False):
                    file.write(chunk)
                    show(len(chunk))
            got = self.part.stat().st_size
            if total is not None and got != total:
                raise requests.ConnectionError(f"connection cut after {got} of {total} bytes")


@contextmanager
def _progress(url: str, start: int, total: int | None) -> Iterator[Callable[[int], object]]:
    """What to call with the bytes of each chunk: a bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import DownloadColumn, Progress, TransferSpeedColumn

    columns = (*Progress.get_default_columns(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(url.rsplit("/", 1)[-1], total=total, completed=start)
        yield lambda count: bar.advance(task, count)


def unpack(archive: Path, members: Mapping[str, Path]) -> None:
    """Copy the named members of a ``.zip`` or ``.tar.gz`` to the given files, and nothing else.

    Where a file lands is decided here, never by a name in the archive, so ``../`` and links in it
    lead nowhere. A file appears under its name only when it is whole.

    Raises:
        ValueError: not an archive, corrupt, or without a member.
    """
    try:
        for member, target in members.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            part = target.with_name(target.name + ".part")
            with _member(archive, member) as source, part.open("wb") as file:
                shutil.copyfileobj(source, file, CHUNK)
            part.replace(target)
    except (KeyError, tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as e:
        if isinstance(e, OSError) and e.errno is not None:
            raise  # the disk's fault, not the archive's
        raise ValueError(
            f"{archive}: an archive with {', '.join(members)} wanted: {e}; "
            "delete it so that it is downloaded again"
        ) from e


@contextmanager
def _member(archive: Path, name: str) -> Iterator[IO[bytes]]:
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as z, z.open(name) as stream:
            yield stream
        return
    with tarfile.open(archive, "r:*") as t:
        found = t.getmember(name)
        extracted = t.extractfile(found) if found.isreg() else None
        if extracted is None:
            raise KeyError(f"{name} is no regular file")
        with extracted:
            yield extracted
