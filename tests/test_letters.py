"""Letters: only their readers open them, and nothing about them can be changed on the way."""

import datetime
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import given
from hypothesis import strategies as st

from cutlayer.wire import letters
from cutlayer.wire.identity import Authority, Credentials, Identity, revoked
from cutlayer.wire.letters import LetterError, checked, seal, unseal

SUBJECT = "clinics-1/epoch 3/segment of owner 0"
CONTENT = b"weights of a segment"
NORTH, SOUTH = (Identity("clinics", "owner", name) for name in ("north", "south"))
SUBJECT_AT, CONTENT_LENGTH, POINT = 95, slice(10, 18), slice(18, 83)
SIGNATURE = 64


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.create(tmp_path_factory.mktemp("authority"), "clinics")


@pytest.fixture(scope="module")
def folders(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("parties")
    for role, name in (("owner", "north"), ("owner", "south"), ("user", "u1"), ("server", "hub")):
        authority.issue(role, name, root / name)  # type: ignore[arg-type]
    return root


@pytest.fixture(scope="module")
def north(folders: Path) -> Credentials:
    return Credentials.load(folders / "north")


@pytest.fixture(scope="module")
def south(folders: Path) -> Credentials:
    return Credentials.load(folders / "south")


@pytest.fixture(scope="module")
def user(folders: Path) -> Credentials:
    return Credentials.load(folders / "u1")


@pytest.fixture(scope="module")
def hub(folders: Path) -> Credentials:
    return Credentials.load(folders / "hub")


@pytest.fixture(scope="module")
def letter(north: Credentials, south: Credentials, user: Credentials) -> bytes:
    return seal(CONTENT, north, [south.certificate, user.certificate], subject=SUBJECT)


def opened(letter: bytes, reader: Credentials, sender: Identity = NORTH) -> bytes:
    return unseal(letter, reader, sender=sender, subject=SUBJECT)


def raw(folder: Path) -> Credentials:
    """Without looking at the dates."""
    files = ("key", "certificate", "authority")
    return Credentials(*((folder / f"{name}.pem").read_bytes() for name in files))


def with_head(letter: bytes, **fields: object) -> bytes:
    """With other fields in its head."""
    names = ("magic", "version", "readers", "subject", "certificate", "content", "point", "nonce")
    old = dict(zip(names, letters._HEAD.unpack_from(letter), strict=True))
    return letters._HEAD.pack(*(old | fields).values()) + letter[letters._HEAD.size :]


def signed_again(letter: bytes, by: Credentials) -> bytes:
    body = letter[:-SIGNATURE]
    return body + letters._sign(letters._private(by.key), body)


def der(party: Credentials) -> bytes:
    found = x509.load_pem_x509_certificate(party.certificate)
    return found.public_bytes(serialization.Encoding.DER)


# The readers open it


def test_every_reader_opens_it(letter: bytes, south: Credentials, user: Credentials) -> None:
    assert opened(letter, south) == opened(letter, user) == CONTENT


@given(content=st.binary(max_size=300), subject=st.text("aé/ 0\n", min_size=1, max_size=100))
def test_whatever_is_in_it(
    north: Credentials, south: Credentials, content: bytes, subject: str
) -> None:
    sent = seal(content, north, [south.certificate], subject=subject)
    assert unseal(sent, south, sender=NORTH, subject=subject) == content
    with pytest.raises(LetterError, match="wanted: got"):
        unseal(sent, south, sender=NORTH, subject=subject + "0")


def test_a_large_one(north: Credentials, south: Credentials) -> None:
    content = bytes(8 * 2**20)
    assert opened(seal(content, north, [south.certificate], subject=SUBJECT), south) == content


def test_no_two_letters_are_alike(north: Credentials, south: Credentials) -> None:
    one, two = (seal(CONTENT, north, [south.certificate], subject=SUBJECT) for _ in range(2))
    assert one[POINT] != two[POINT]
    assert one[83:95] != two[83:95]
    assert one[-SIGNATURE - 36 :] != two[-SIGNATURE - 36 :]


def test_the_format_is_as_the_page_has_it(letter: bytes, north: Credentials) -> None:
    text, certificate = SUBJECT.encode(), der(north)
    assert letter[:6] == b"CUTE\x01\x02"
    assert int.from_bytes(letter[6:8], "little") == len(text)
    assert int.from_bytes(letter[8:10], "little") == len(certificate)
    assert int.from_bytes(letter[CONTENT_LENGTH], "little") == len(CONTENT) + 16
    assert letter[SUBJECT_AT:].startswith(text + certificate)
    parts = (95, len(text), len(certificate), 2 * 80, len(CONTENT) + 16, 64)
    assert len(letter) == sum(parts)


def test_the_signature_is_a_plain_one_over_all_before_it(letter: bytes, north: Credentials) -> None:
    """By the library's own one-call verification: the prefix, then the letter."""
    r, s = (int.from_bytes(h, "big") for h in (letter[-64:-32], letter[-32:]))
    prefix = b"cutlayer: a letter, version 1".ljust(64, b"\0")
    key = x509.load_pem_x509_certificate(north.certificate).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    signature = letters.encode_dss_signature(r, s)
    key.verify(signature, prefix + letter[:-64], ec.ECDSA(hashes.SHA256()))


# Nobody else does


def test_who_was_not_addressed_cannot_open_it(letter: bytes, hub: Credentials) -> None:
    with pytest.raises(LetterError, match=r"letter for spiffe://clinics/server/hub wanted: it is"):
        opened(letter, hub)


def test_a_readers_certificate_is_not_enough(
    letter: bytes, south: Credentials, hub: Credentials
) -> None:
    """The server shows a reader's certificate, but has its own key."""
    with pytest.raises(LetterError, match="another did, or wrongly"):
        opened(letter, replace(south, key=hub.key))


def test_the_content_does_not_show(north: Credentials, south: Credentials) -> None:
    sent = seal(bytes(1000), north, [south.certificate], subject=SUBJECT)
    assert bytes(12) not in sent[-1080:]


# Nothing can be changed on the way


@pytest.mark.parametrize("mask", [1, 0x80, 0xFF])
@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
def test_no_byte_can_be_changed(letter: bytes, user: Credentials, mask: int) -> None:
    for at in range(len(letter)):
        changed = bytearray(letter)
        changed[at] ^= mask
        with pytest.raises(LetterError):
            opened(bytes(changed), user)


def test_a_changed_content_was_altered(letter: bytes, south: Credentials) -> None:
    for at in (12 + 71, SUBJECT_AT, len(letter) - 65, len(letter) - 1):
        changed = letter[:at] + bytes([letter[at] ^ 1]) + letter[at + 1 :]
        with pytest.raises(LetterError, match="it was altered"):
            opened(changed, south)


def test_nothing_is_decrypted_before_the_signature_holds(
    letter: bytes, south: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(letters, "AESGCM", never)
    monkeypatch.setattr(letters, "_private", never)
    with pytest.raises(LetterError, match="it was altered"):
        opened(letter[:-1] + bytes([letter[-1] ^ 1]), south)


def test_the_other_signature_that_would_hold_is_refused(letter: bytes, south: Credentials) -> None:
    """(r, n - s) is valid where (r, s) is: else one letter would have two forms."""
    s = letters._ORDER - int.from_bytes(letter[-32:], "big")
    with pytest.raises(LetterError, match="it was altered"):
        opened(letter[:-32] + s.to_bytes(32, "big"), south)


def test_half_of_the_signatures_would_have_had_it(north: Credentials) -> None:
    key = letters._private(north.key)
    halves = [int.from_bytes(letters._sign(key, bytes([i]))[32:], "big") for i in range(32)]
    assert max(halves) <= letters._ORDER // 2


def test_it_is_not_cut_short_nor_longer(letter: bytes, south: Credentials) -> None:
    for length in range(len(letter)):
        with pytest.raises(LetterError, match=r"wanted: got [\d,]+$"):
            opened(letter[:length], south)
    with pytest.raises(LetterError, match="bytes wanted"):
        opened(letter + b"\0", south)


@given(garbage=st.binary(max_size=400), headed=st.booleans())
def test_garbage(south: Credentials, garbage: bytes, headed: bool) -> None:
    with pytest.raises(LetterError):
        opened(b"CUTE\x01" * headed + garbage, south)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"magic": b"CUTL"}, "letter CUTE of version 1 wanted"),
        ({"version": 2}, "letter CUTE of version 1 wanted"),
        ({"readers": 0}, "1 to 255 readers wanted: got 0"),
        ({"readers": 255}, r"letter of [\d,]+ bytes wanted"),
        ({"subject": 0}, "1 to 1,000 bytes of subject wanted: got 0"),
        ({"subject": 1001}, "1 to 1,000 bytes of subject wanted: got 1,001"),
        ({"certificate": 0}, "bytes of certificate wanted: got 0"),
        ({"certificate": 65535}, "bytes of certificate wanted: got 65,535"),
        ({"content": 15}, "bytes of content wanted: got 15"),
        ({"content": 2**64 - 1}, "bytes of content wanted: got 18,446"),
        ({"content": 2**26}, r"letter of [\d,]+ bytes wanted"),
    ],
)
def test_every_length_is_held_against_its_bounds(
    letter: bytes, south: Credentials, fields: dict[str, object], said: str
) -> None:
    with pytest.raises(LetterError, match=said):
        opened(with_head(letter, **fields), south)


# Not as something else, and not as somebody else's


def test_it_is_not_another_subject(letter: bytes, south: Credentials) -> None:
    said = r"letter 'clinics-1/epoch 4' wanted: got 'clinics-1/epoch 3/segment of owner 0'"
    with pytest.raises(LetterError, match=said):
        unseal(letter, south, sender=NORTH, subject="clinics-1/epoch 4")


def test_the_server_cannot_write_another_subject(letter: bytes, south: Credentials) -> None:
    other = SUBJECT.replace("3", "4")
    with pytest.raises(LetterError, match="it was altered"):
        unseal(letter.replace(b"epoch 3", b"epoch 4"), south, sender=NORTH, subject=other)


def test_another_partys_letter_is_not_norths(
    hub: Credentials, south: Credentials, user: Credentials
) -> None:
    for writer in (hub, user, south):
        forged = seal(b"bad", writer, [south.certificate], subject=SUBJECT)
        with pytest.raises(LetterError, match=r"certificate of spiffe://clinics/owner/north want"):
            opened(forged, south)


def test_norths_certificate_does_not_make_it_norths(
    north: Credentials, south: Credentials, hub: Credentials
) -> None:
    liar = replace(hub, certificate=north.certificate)
    with pytest.raises(LetterError, match="it was altered"):
        opened(seal(b"bad", liar, [south.certificate], subject=SUBJECT), south)


@pytest.mark.parametrize("bonds", ["content key", "content", "key", ""])
def test_nobody_passes_norths_letter_off_as_its_own(
    letter: bytes,
    north: Credentials,
    south: Credentials,
    hub: Credentials,
    bonds: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The server puts its certificate in and signs anew, over a content that it cannot read.

    Each of two bonds stops it alone: the head, authenticated with the content, and the sender's
    fingerprint in the key that wraps the content key. Without both it opens.
    """
    taken = letter.replace(der(north), der(hub))
    taken = with_head(taken, certificate=len(der(hub)))
    if "content" not in bonds:
        taken = taken.replace(letter[-SIGNATURE - 36 : -SIGNATURE], _plain(letter, south))
        _without_the_heads(monkeypatch)
    if "key" not in bonds:
        _same_wrapping(monkeypatch, _own(north))
    taken, server = signed_again(taken, hub), Identity("clinics", "server", "hub")
    if not bonds:
        assert opened(taken, south, server) == CONTENT
        return
    with pytest.raises(LetterError, match=r"letter encrypted by spiffe://clinics/server/hub"):
        opened(taken, south, server)


def _unwrapped(parts: letters._Parts, reader: Credentials, entry: bytes) -> bytes:
    theirs = letters._certificate(parts.certificate, der=True)
    secret = letters._private(reader.key).exchange(ec.ECDH(), letters._ephemeral(parts.ephemeral))
    mine = letters._certificate(reader.certificate)
    key = letters._wrapping(secret, parts.ephemeral, mine, theirs, parts.subject)
    return key.decrypt(bytes(12), entry, None)


def _plain(letter: bytes, reader: Credentials) -> bytes:
    """The content as it would be encrypted if the head were not authenticated with it."""
    parts = letters._apart(letter)
    key = _unwrapped(parts, reader, parts.keys[letters._fingerprint(_own(reader))])
    return _AESGCM(key).encrypt(parts.nonce, CONTENT, b"")


def _own(party: Credentials) -> x509.Certificate:
    return x509.load_pem_x509_certificate(party.certificate)


_AESGCM = letters.AESGCM


def _without_the_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    class Bare:
        def __init__(self, key: bytes) -> None:
            self.inner = _AESGCM(key)

        def decrypt(self, nonce: bytes, data: bytes, _: object) -> bytes:
            return self.inner.decrypt(nonce, data, b"")

    monkeypatch.setattr(letters, "AESGCM", Bare)


def _same_wrapping(monkeypatch: pytest.MonkeyPatch, sender: x509.Certificate) -> None:
    inner = letters._wrapping

    def as_if(s: bytes, e: bytes, reader: x509.Certificate, _: object, subject: bytes) -> object:
        return inner(s, e, reader, sender, subject)

    monkeypatch.setattr(letters, "_wrapping", as_if)


def test_a_reader_cannot_pass_it_on_as_written_to_another(
    letter: bytes, hub: Credentials, user: Credentials
) -> None:
    """It knows the content key, and wraps it for one more; but it cannot sign."""
    parts = letters._apart(letter)
    theirs = letters._certificate(parts.certificate, der=True)
    key = _unwrapped(parts, user, parts.keys[letters._fingerprint(_own(user))])
    own = ec.generate_private_key(ec.SECP256R1())
    entry = letters._entry(key, own, _own(hub), theirs, parts.subject)
    start = SUBJECT_AT + len(parts.subject) + len(parts.certificate)
    more = with_head(letter, readers=3, point=letters._point(own))
    with pytest.raises(LetterError, match="it was altered"):
        opened(more[:start] + entry + more[start:], hub)


def test_a_point_off_the_curve_is_refused(
    letter: bytes, north: Credentials, south: Credentials
) -> None:
    bent = signed_again(with_head(letter, point=b"\x04" + bytes(63) + b"\x01"), north)
    with pytest.raises(LetterError, match="letter with a P-256 key wanted"):
        opened(bent, south)


def test_a_signature_of_another_kind_is_none(letter: bytes, north: Credentials) -> None:
    """What the same key signs elsewhere, without our prefix, is no letter's signature."""
    key = letters._private(north.key)
    r, s = letters.decode_dss_signature(key.sign(letter[:-64], ec.ECDSA(hashes.SHA256())))
    plain = r.to_bytes(32, "big") + min(s, letters._ORDER - s).to_bytes(32, "big")
    with pytest.raises(LetterError, match="it was altered"):
        letters._verify(letters._public(_own(north)), letters._apart(letter[:-64] + plain))


# Certificates


def test_another_authority_with_the_same_names(
    north: Credentials, south: Credentials, tmp_path: Path
) -> None:
    other = Authority.create(tmp_path / "ca", "clinics")
    for name in ("north", "south"):
        other.issue("owner", name, tmp_path / name)
    fake_north, fake_south = (raw(tmp_path / name) for name in ("north", "south"))
    # It would be addressed to the real one, under its own authority for that purpose.
    forger = replace(fake_north, authority=south.authority)
    said = "signed by the federation's authority wanted"
    with pytest.raises(LetterError, match=said):
        opened(seal(b"bad", forger, [south.certificate], subject=SUBJECT), south)
    with pytest.raises(LetterError, match=said):
        seal(CONTENT, north, [fake_south.certificate], subject=SUBJECT)
    with pytest.raises(LetterError, match=said):
        checked(fake_south.certificate, north.authority, expected=SOUTH)


def test_a_certificate_that_is_over(
    authority: Authority, north: Credentials, south: Credentials, tmp_path: Path
) -> None:
    old = authority.issue("owner", "old", tmp_path / "old", life=datetime.timedelta(seconds=1))
    past = raw(tmp_path / "old")
    sent = seal(CONTENT, past, [south.certificate], subject=SUBJECT)
    for refused in (
        lambda: opened(sent, south, old),
        lambda: seal(CONTENT, north, [past.certificate], subject=SUBJECT),
        lambda: checked(past.certificate, north.authority, expected=old),
    ):
        with pytest.raises(LetterError, match="a certificate in force wanted: it is from"):
            refused()


def test_a_certificate_that_was_taken_back(
    authority: Authority, north: Credentials, south: Credentials, tmp_path: Path
) -> None:
    gone = authority.issue("owner", "gone", tmp_path / "gone")
    removed = raw(tmp_path / "gone")
    sent = seal(CONTENT, removed, [south.certificate], subject=SUBJECT)
    assert opened(sent, south, gone) == CONTENT
    authority.revoke(removed.certificate)
    numbers = revoked(authority.folder / "revoked.json")
    with pytest.raises(LetterError, match="was revoked"):
        unseal(sent, south, sender=gone, subject=SUBJECT, without=numbers)
    with pytest.raises(LetterError, match="was revoked"):
        checked(removed.certificate, north.authority, expected=gone, without=numbers)
    checked(south.certificate, north.authority, expected=SOUTH, without=numbers)


def test_a_certificate_is_checked(north: Credentials, south: Credentials, hub: Credentials) -> None:
    found = checked(south.certificate, north.authority, expected=SOUTH)
    assert found == _own(south)
    with pytest.raises(LetterError, match=r"of spiffe://clinics/owner/south wanted: got one of"):
        checked(hub.certificate, north.authority, expected=SOUTH)
    for garbage in (b"", b"-----BEGIN CERTIFICATE-----", south.key):
        with pytest.raises(LetterError, match="a party's certificate wanted"):
            checked(garbage, north.authority, expected=SOUTH)


def test_an_authority_is_no_party(authority: Authority, north: Credentials) -> None:
    with pytest.raises(LetterError, match="got an authority's"):
        checked(north.authority, north.authority, expected=NORTH)


def issued(
    authority: Authority,
    public: object,
    *names: str,
    subject: x509.Name | None = None,
    start: datetime.timedelta = datetime.timedelta(minutes=-5),
    ca: bool = False,
) -> bytes:
    """A certificate as our own authority never writes it."""
    begin = datetime.datetime.now(datetime.UTC) + start
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject or x509.Name([]))
        .issuer_name(authority.certificate.subject)
        .public_key(public)  # type: ignore[arg-type]
        .serial_number(7)
        .not_valid_before(begin)
        .not_valid_after(begin + datetime.timedelta(days=1))
    )
    if names:
        uris = [x509.UniformResourceIdentifier(name) for name in names]
        builder = builder.add_extension(x509.SubjectAlternativeName(uris), critical=False)
    if ca:
        builder = builder.add_extension(x509.BasicConstraints(True, None), critical=True)
    signed = builder.sign(authority._key, hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM)


P256 = ec.generate_private_key(ec.SECP256R1()).public_key()


@pytest.mark.parametrize(
    ("public", "names", "more", "said"),
    [
        (P256, [str(NORTH)], {"ca": True}, "got an authority's"),
        (P256, [str(NORTH)], {"start": datetime.timedelta(hours=1)}, "certificate in force wanted"),
        (P256, [str(NORTH), str(SOUTH)], {}, "certificate of one party wanted: it names 2"),
        (P256, [], {}, "names none"),
        (P256, ["https://clinics"], {}, "spiffe://FEDERATION/ROLE/NAME wanted"),
        (ec.generate_private_key(ec.SECP384R1()).public_key(), [str(NORTH)], {}, "P-256 key"),
        (ed25519.Ed25519PrivateKey.generate().public_key(), [str(NORTH)], {}, "P-256 key"),
    ],
    ids=["ca", "not yet", "two names", "no name", "no party", "P-384", "Ed25519"],
)
def test_only_a_partys_certificate_is_one(
    authority: Authority, public: object, names: list[str], more: dict[str, object], said: str
) -> None:
    pem = issued(authority, public, *names, **more)  # type: ignore[arg-type]
    root = authority.certificate.public_bytes(serialization.Encoding.PEM)
    with pytest.raises(LetterError, match=said):
        checked(pem, root, expected=NORTH)


def test_an_authority_that_is_over_vouches_for_nobody(
    authority: Authority, letter: bytes, south: Credentials
) -> None:
    key, name = authority._key.public_key(), authority.certificate.subject
    over = issued(authority, key, subject=name, start=datetime.timedelta(days=-2), ca=True)
    with pytest.raises(LetterError, match="an authority in force wanted"):
        opened(letter, replace(south, authority=over))


# What cannot be sealed


def test_readers_are_there_once_each(north: Credentials, south: Credentials) -> None:
    for readers in ([], [south.certificate] * 2):
        with pytest.raises(LetterError, match=f"each once, wanted: got {len(readers)}"):
            seal(CONTENT, north, readers, subject=SUBJECT)


@pytest.mark.parametrize("subject", ["", "é" * 501])
def test_a_subject_has_its_length(north: Credentials, south: Credentials, subject: str) -> None:
    with pytest.raises(LetterError, match="subject of 1 to 1000 bytes wanted"):
        seal(CONTENT, north, [south.certificate], subject=subject)


def test_it_can_be_too_long(
    north: Credentials, south: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    longer = seal(bytes(101), north, [south.certificate], subject=SUBJECT)
    monkeypatch.setattr(letters, "MOST_CONTENT", 100)
    with pytest.raises(LetterError, match="16 to 116 bytes of content wanted: got 117"):
        opened(longer, south)
    with pytest.raises(LetterError, match="at most 100 bytes wanted: got 101"):
        seal(bytes(101), north, [south.certificate], subject=SUBJECT)
    assert opened(seal(bytes(100), north, [south.certificate], subject=SUBJECT), south)


def test_a_key_has_to_be_one(north: Credentials, south: Credentials) -> None:
    for key in (b"", b"garbage"):
        with pytest.raises(LetterError, match="a party's own key wanted"):
            seal(CONTENT, replace(north, key=key), [south.certificate], subject=SUBJECT)
