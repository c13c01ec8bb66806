import contextlib
import gzip
import hashlib
import io
import re
import struct
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from cutlayer.data import DATASETS, cifar, idx
from cutlayer.data.download import data_root, fetch, unpack

CONTENT = np.random.default_rng(0).bytes(100_000)


def md5(data):
    return hashlib.md5(data).hexdigest()


class Server:
    """Serves files by path; cuts the first connections short, and may ignore ranges."""

    def __init__(self, files, *, cuts=(), ranges=True, statuses=()):
        self.files, self.cuts, self.ranges = files, list(cuts), ranges
        self.statuses, self.asked = list(statuses), []

    def handler(self):
        server = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args):
                pass

            def do_GET(self):
                span = self.headers.get("Range")
                server.asked.append(span)
                data = server.files.get(self.path)
                status = server.statuses.pop(0) if server.statuses else 200
                if data is None or status != 200:
                    self.send_error(404 if data is None else status)
                    return
                start = int(re.match(r"bytes=(\d+)-", span)[1]) if span and server.ranges else 0
                if start >= len(data) > 0 and span:
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{len(data)}")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                self.send_response(206 if start else 200)
                if start:
                    span = f"bytes {start}-{len(data) - 1}/{len(data)}"
                    self.send_header("Content-Range", span)
                self.send_header("Content-Length", str(len(data) - start))
                self.send_header("Content-Encoding", "gzip")  # some do, for a .gz: must not matter
                self.end_headers()
                end = start + server.cuts.pop(0) if server.cuts else len(data)
                self.wfile.write(data[start:end])

        return Handler


@pytest.fixture
def serve(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with contextlib.ExitStack() as stack:

        def start(**kwargs):
            server = Server(kwargs.pop("files", {"/f.bin": CONTENT}), **kwargs)
            http = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), server.handler()))
            thread = threading.Thread(target=http.serve_forever, args=(0.01,))
            thread.start()
            stack.callback(thread.join)
            stack.callback(http.shutdown)
            server.url = f"http://127.0.0.1:{http.server_port}/"
            return server

        yield start


def download(server, to, **kwargs):
    return fetch(server.url + to.name, to, md5=kwargs.pop("md5", md5(CONTENT)), pause=0, **kwargs)


def test_a_fresh_file_arrives_whole_and_nothing_else_stays(serve, tmp_path):
    server = serve()
    to = tmp_path / "deep" / "f.bin"
    assert download(server, to).read_bytes() == CONTENT
    assert [p.name for p in to.parent.iterdir()] == ["f.bin"]
    assert server.asked == [None]


def test_a_cut_connection_is_resumed_where_it_ended(serve, tmp_path):
    server = serve(cuts=[30_000, 20_000])
    assert download(server, tmp_path / "f.bin").read_bytes() == CONTENT
    assert server.asked == [None, "bytes=30000-", "bytes=50000-"]


def test_a_later_run_goes_on_from_the_part_file(serve, tmp_path):
    to = tmp_path / "f.bin"
    with pytest.raises(ConnectionError):
        download(serve(cuts=[30_000]), to, attempts=1)
    assert [p.name for p in tmp_path.iterdir()] == ["f.bin.part"]
    server = serve()
    assert download(server, to).read_bytes() == CONTENT
    assert server.asked == ["bytes=30000-"]


def test_a_server_that_ignores_ranges_sends_the_whole_file(serve, tmp_path):
    server = serve(cuts=[30_000], ranges=False)
    assert download(server, tmp_path / "f.bin").read_bytes() == CONTENT
    assert server.asked == [None, "bytes=30000-"]


@pytest.mark.parametrize("extra", [0, 10])
def test_a_part_file_that_is_complete_or_too_long(serve, tmp_path, extra):
    (tmp_path / "f.bin.part").write_bytes(CONTENT + bytes(extra))
    assert download(serve(), tmp_path / "f.bin").read_bytes() == CONTENT


def test_a_busy_server_is_asked_again(serve, tmp_path):
    assert download(serve(statuses=[503, 429]), tmp_path / "f.bin").read_bytes() == CONTENT


# Messages


def test_a_wrong_checksum_deletes_the_file_and_says_both(serve, tmp_path):
    wanted = md5(b"another")
    with pytest.raises(
        ValueError, match=rf"expected md5:{wanted} but got {md5(CONTENT)}.*put it at .*f\.bin"
    ):
        download(serve(), tmp_path / "f.bin", md5=wanted)
    assert not list(tmp_path.iterdir())


def test_a_missing_page_is_not_asked_for_twice(serve, tmp_path):
    server = serve(files={})
    with pytest.raises(
        ConnectionError, match=r"could not download f.bin \(404 .*put it at .*f\.bin"
    ):
        download(server, tmp_path / "f.bin")
    assert server.asked == [None]


def test_no_network_says_which_file_to_put_where(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    to = tmp_path / "f.bin"
    url = "http://127.0.0.1:9/f.bin"
    with pytest.raises(
        ConnectionError, match=rf"download {url} by any other means and put it at {to}"
    ):
        fetch(url, to, md5=md5(b""), attempts=2, pause=0)


def test_the_cache_is_used_without_a_root(tmp_path):
    assert data_root(tmp_path) == tmp_path
    assert data_root(None).name == "cutlayer"


# Archives


def tar(path, members, kind=tarfile.REGTYPE):
    with tarfile.open(path, "w:gz") as t:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.type, info.linkname = len(data), kind, "/etc/passwd"
            t.addfile(info, io.BytesIO(data))
    return path


def test_only_the_named_members_are_unpacked_and_only_to_the_named_places(tmp_path):
    archive = tar(tmp_path / "a.tar.gz", {"../evil": b"1", "/evil": b"2", "in/good": b"3"})
    unpack(archive, {"in/good": tmp_path / "out" / "good"})
    assert (tmp_path / "out" / "good").read_bytes() == b"3"
    assert not list(tmp_path.rglob("*evil*"))


def test_a_link_in_an_archive_is_refused(tmp_path):
    archive = tar(tmp_path / "a.tar.gz", {"good": b""}, tarfile.SYMTYPE)
    with pytest.raises(ValueError, match=r"an archive with good wanted: .*no regular file"):
        unpack(archive, {"good": tmp_path / "good"})


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
@pytest.mark.parametrize(
    "data", [b"", b"garbage" * 99, gzip.compress(bytes(99), mtime=0)], ids=range(3)
)
def test_a_corrupt_archive_is_named(tmp_path, suffix, data):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.(zip|tar\.gz): an archive with good wanted"):
        unpack(path, {"good": tmp_path / "good"})
    assert not (tmp_path / "good").exists()


def test_a_truncated_archive_is_named(tmp_path):
    path = tar(tmp_path / "a.tar.gz", {"good": CONTENT})
    path.write_bytes(path.read_bytes()[:50_000])
    with pytest.raises(ValueError, match="an archive with good wanted"):
        unpack(path, {"good": tmp_path / "good"})
    assert not (tmp_path / "good").exists()


# The loaders, from an empty folder


def encode(a):
    a = np.asarray(a, np.uint8)
    return struct.pack(f">BBBB{a.ndim}I", 0, 0, 8, a.ndim, *a.shape) + a.tobytes()


def test_missing_idx_files_are_fetched_and_those_of_the_user_kept(serve, tmp_path, monkeypatch):
    images, labels = encode(np.ones((4, 2, 2))), encode(np.arange(4))
    packed = [gzip.compress(images if "images" in stem else labels) for stem in idx._STEMS]
    files = {f"/{stem}.gz": data for stem, data in zip(idx._STEMS, packed, strict=True)}
    server = serve(files=files)
    load = idx._load

    def local(*args, url, md5s, classes):
        return load(*args, url=server.url, md5s=tuple(map(md5, packed)), classes=classes)

    monkeypatch.setattr(idx, "_load", local)
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(encode([3, 3, 3, 3]))  # the user's own
    d = DATASETS["mnist"](root=tmp_path)
    assert d.y.tolist() == [0, 1, 2, 3, 3, 3, 3, 3]
    assert len(server.asked) == 3
    assert len(list((tmp_path / "MNIST" / "raw").iterdir())) == 3
    assert DATASETS["mnist"](root=tmp_path).checksum == d.checksum
    assert len(server.asked) == 3


def test_emnist_is_fetched_unpacked_and_its_archive_removed(serve, tmp_path, monkeypatch):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as z:
        for stem in idx._EMNIST_STEMS:
            content = encode(np.ones((4, 2, 2)) if "images" in stem else np.arange(1, 5))
            z.writestr(f"gzip/{stem}.gz", gzip.compress(content))
    server = serve(files={"/gzip.zip": buffer.getvalue()})
    monkeypatch.setattr(idx, "_EMNIST_URL", server.url + "gzip.zip")
    monkeypatch.setattr(idx, "_EMNIST_MD5", md5(buffer.getvalue()))
    users = tmp_path / "emnist-letters-test-labels-idx1-ubyte"
    users.write_bytes(encode([26, 26, 26, 26]))
    assert DATASETS["emnist-letters"](root=tmp_path).y.tolist() == [0, 1, 2, 3, 25, 25, 25, 25]
    assert len(list((tmp_path / "EMNIST" / "raw").iterdir())) == 3


def test_cifar10_is_fetched_and_files_that_are_there_are_kept(serve, tmp_path, monkeypatch):
    members = {f"cifar-10-batches-bin/{name}": bytes(3073) for name in cifar._FILES}
    data = tar(tmp_path / "a.tar.gz", members).read_bytes()
    server = serve(files={"/c.tar.gz": data})
    monkeypatch.setattr(cifar, "_URL", server.url + "c.tar.gz")
    monkeypatch.setattr(cifar, "_MD5", md5(data))
    root = tmp_path / "root"
    root.mkdir()
    (root / "test_batch.bin").write_bytes(b"\x09" + bytes(3072))
    assert DATASETS["cifar10"](root=root).y.tolist() == [0, 0, 0, 0, 0, 9]
    assert len(list((root / "cifar-10-batches-bin").iterdir())) == 5
    assert not list(root.rglob("*.tar.gz"))
