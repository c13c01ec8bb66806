"""What defences draw: torch's numbers outside of a block, a secret keystream's inside."""

import hmac
import math
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from scipy import stats
from torch import Tensor, nn

from cutlayer import draws
from cutlayer.defences import (
    Chain,
    Defence,
    Defended,
    Dropout,
    Gaussian,
    Laplace,
    MutualInformation,
    Noise,
    StudentT,
    Uniform,
)
from cutlayer.draws import Keystream, drawn_from
from cutlayer.parties import Owner, Server
from cutlayer.streams import seed_of, stream
from cutlayer.wire import At, Tap

SECRET, OTHER = bytes(range(32)), bytes(range(1, 33))
EXTREME = [0, 2**64 - 1, 2**63, 2**63 - 1]  # words, unsigned: u nearest 0, nearest 1, just over ½
ADDED: list[Noise | MutualInformation] = [
    *(Laplace(0.5), Gaussian(0.5), Uniform(0.5), StudentT(0.5), Laplace(0.5, site="input")),
    MutualInformation(0.1, active="both"),
]
DRAWING: list[Defence] = [*ADDED, Dropout(0.3, active="both")]
FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "exponential": lambda like: draws.exponential(like, 2),
    "normal": draws.normal,
    "normals": lambda like: draws.normals(like, 4),
    "uniform": draws.uniform,
    "keep": lambda like: draws.keep(like, 0.7),
}
LITERALS: dict[
    str, Callable[[Tensor], Tensor]
] = {  # what the defences called before there was this
    "exponential": lambda like: torch.empty(
        2, *like.shape, dtype=like.dtype, device=like.device
    ).exponential_(),
    "normal": torch.randn_like,
    "normals": lambda like: torch.randn(4, *like.shape, dtype=like.dtype, device=like.device),
    "uniform": lambda like: torch.empty_like(like).uniform_(-1, 1),
    "keep": lambda like: torch.empty_like(like).bernoulli_(0.7),
}
LIKES = {
    "scalar": torch.zeros(()),
    "none": torch.zeros(0, 6),
    "few": torch.zeros(2, 3),
    "float64": torch.zeros(5, 7, dtype=torch.float64),
    "bfloat16": torch.zeros(40, dtype=torch.bfloat16),
    "channels last": torch.zeros(3, 4, 5, 5).contiguous(memory_format=torch.channels_last),
}


# Reference: the same stream, put together by hand.


def test_the_stream_is_aes_256_of_a_counter_under_the_hmac_of_the_name() -> None:
    key = hmac.new(SECRET, b"('cutlayer.draws', 'owner0', 3, 7)", "sha256").digest()
    block = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    by_hand = b"".join(block.update(i.to_bytes(16, "big")) for i in range(5))
    ours = Keystream(SECRET, "owner0", 3, 7)
    words = torch.cat([ours.words(3), ours.words(0), ours.words(7)])
    assert b"".join(w.to_bytes(8, "little", signed=True) for w in words.tolist()) == by_hand


def fixed(monkeypatch: pytest.MonkeyPatch, words: list[int]) -> None:
    """From now on keystreams give these words, unsigned, over and over."""
    signed = torch.tensor([w - 2**64 if w >= 2**63 else w for w in words])
    monkeypatch.setattr(
        Keystream, "words", lambda self, count: signed.repeat(count // len(words) + 1)[:count]
    )


def test_uniforms_are_the_middles_of_2_to_the_52_equal_cells(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = [*EXTREME, 1, 4095, 4096, 0x0123456789ABCDEF]
    exact = [(Fraction(w >> 12) + Fraction(1, 2)) / 2**52 for w in words]
    fixed(monkeypatch, words)
    u = Keystream(SECRET).unit(len(words)).tolist()
    assert [Fraction(v) for v in u] == exact  # no rounding at all
    assert (min(u), max(u)) == (2.0**-53, 1 - 2.0**-53)


# Outside of a block: bit for bit what the defences drew before.


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("like", LIKES.values(), ids=LIKES)
def test_without_a_secret_the_numbers_are_torchs_own(name: str, like: Tensor) -> None:
    with stream(0, "x"):
        expected = [LITERALS[name](like), LITERALS[name](like)]
    with stream(0, "x"):
        found = [FUNCTIONS[name](like)]
        with drawn_from(None, "owner0", 0, 0):
            found.append(FUNCTIONS[name](like))
    assert all(map(torch.equal, found, expected))
    assert [f.stride() for f in found] == [e.stride() for e in expected]


def before(defence: Defence, t: Tensor) -> Tensor:
    """The defence's formula with torch's calls in it, as it was written before."""
    if isinstance(defence, Laplace):
        e1, e2 = torch.empty(2, *t.shape, dtype=t.dtype, device=t.device).exponential_()
        return t + 0.5 * (e1 - e2)
    if isinstance(defence, Gaussian):
        return t + 0.5 * torch.randn_like(t)
    if isinstance(defence, Uniform):
        return t + 0.5 * torch.empty_like(t).uniform_(-1, 1)
    if isinstance(defence, StudentT):
        first, *rest = torch.randn(4, *t.shape, dtype=t.dtype, device=t.device).unbind()
        return t + 0.5 * first.div(torch.stack(rest).square().mean(0).sqrt())
    if isinstance(defence, MutualInformation):
        return t + torch.randn_like(t)
    return t * torch.empty_like(t).bernoulli_(1 - 0.3)


@pytest.mark.parametrize("defence", DRAWING, ids=repr)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_without_a_secret_every_defence_does_what_it_did(
    defence: Defence, dtype: torch.dtype
) -> None:
    t = torch.linspace(-1, 1, 120, dtype=dtype).view(5, 2, 3, 4)
    with stream(3, "owner0"):
        expected = before(defence, t)
    with stream(3, "owner0"):
        assert torch.equal(defence(t), expected)


# Inside: the laws.


@pytest.mark.parametrize(
    ("name", "law"),
    [
        ("exponential", stats.expon()),
        ("normal", stats.norm()),
        ("normals", stats.norm()),
        ("uniform", stats.uniform(-1, 2)),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_draws_follow_their_law(name: str, law: stats.rv_continuous, dtype: torch.dtype) -> None:
    with drawn_from(SECRET, "law"):
        drawn = FUNCTIONS[name](torch.zeros(100_000, dtype=dtype)).flatten().double().numpy()
    # p < 1e-6 is one false alarm in a million secrets; the secret is fixed, so this cannot flake
    assert stats.kstest(drawn, law.cdf).pvalue > 1e-6
    beyond = (drawn > law.ppf(1 - 1e-3)).sum()
    assert stats.binomtest(int(beyond), len(drawn), 1e-3).pvalue > 1e-6


@pytest.mark.parametrize(
    ("noise", "law"),
    [
        (Laplace(0.5), stats.laplace(scale=0.5)),
        (Gaussian(0.5), stats.norm(scale=0.5)),
        (Uniform(0.5), stats.uniform(-0.5, 1.0)),
        (StudentT(0.5), stats.t(3, scale=0.5)),
        (MutualInformation(0.1, active="both"), stats.norm()),
    ],
    ids=lambda v: type(v).__name__,
)
def test_noise_follows_its_law(noise: Defence, law: stats.rv_continuous) -> None:
    with drawn_from(SECRET, "law"):
        drawn = noise(torch.zeros(100_000, dtype=torch.float64)).numpy()
    assert stats.kstest(drawn, law.cdf).pvalue > 1e-6
    following = stats.spearmanr(drawn[:-1], drawn[1:])
    assert following.pvalue > 1e-6


def test_elements_are_kept_with_their_probability() -> None:
    with drawn_from(SECRET, "law"):
        kept = draws.keep(torch.zeros(100_000), 0.7)
        assert set(kept.unique().tolist()) == {0.0, 1.0}
        assert stats.binomtest(int(kept.sum()), len(kept), 0.7).pvalue > 1e-6
        assert draws.keep(kept, 0.0).sum() == 0
        assert draws.keep(kept, 1.0).sum() == len(kept)


@pytest.mark.parametrize("word", EXTREME)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_no_word_gives_an_infinity(
    word: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    fixed(monkeypatch, [word])
    like = torch.zeros(4, 3, dtype=dtype)
    with drawn_from(SECRET):
        found = [draw(like) for draw in FUNCTIONS.values()] + [d(like) for d in DRAWING]
    assert all(f.isfinite().all() for f in found)


def test_the_tails_go_as_far_as_the_words_do(monkeypatch: pytest.MonkeyPatch) -> None:
    fixed(monkeypatch, [0, 2**64 - 1])
    with drawn_from(SECRET):
        longest, shortest = draws.exponential(torch.zeros(2), 1)[0].tolist()
        low, high = draws.normal(torch.zeros(2)).tolist()
    assert longest == pytest.approx(53 * math.log(2))
    assert shortest == pytest.approx(2.0**-53)  # float32 cannot hold its u, but can hold this
    assert -low == high == pytest.approx(stats.norm.isf(2.0**-53))


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("like", LIKES.values(), ids=LIKES)
def test_draws_lie_in_memory_as_torchs_do(name: str, like: Tensor) -> None:
    with drawn_from(SECRET):
        drawn = FUNCTIONS[name](like)
    expected = LITERALS[name](like)
    assert (drawn.shape, drawn.dtype, drawn.device) == (expected.shape, like.dtype, like.device)
    assert drawn.stride() == expected.stride()


# Inside: which stream.


def under(secret: bytes, *name: str | int) -> Tensor:
    with drawn_from(secret, *name):
        return draws.normal(torch.zeros(8))


def test_the_same_secret_and_name_repeat_and_others_differ() -> None:
    assert torch.equal(under(SECRET, "owner0", 0, 12), under(SECRET, "owner0", 0, 12))
    others = [
        *(under(SECRET, "owner0", 0, 12), under(SECRET, "owner0", 0, 1, 2)),
        *(under(SECRET, "owner0", 0, "12"), under(SECRET, "owner00", 12), under(SECRET)),
        *(under(SECRET, "owner0", 1, 12), under(SECRET, "owner1", 0, 12)),
        *(under(OTHER, "owner0", 0, 12), under(SECRET + b"\1", "owner0", 0, 12)),
        *(under(SECRET, "owner0', 0", 12), under(SECRET, 0, "owner0", 12)),
    ]
    assert len({tuple(o.tolist()) for o in others}) == len(others)


@pytest.mark.parametrize("defence", DRAWING, ids=repr)
def test_two_calls_within_one_block_go_on_in_the_stream(defence: Defence) -> None:
    t = torch.ones(64)
    with drawn_from(SECRET, "a"):
        first, second = defence(t), defence(t)
    with drawn_from(SECRET, "a"):
        assert torch.equal(defence(t), first)
    assert not torch.equal(first, second)


def test_torchs_generator_is_neither_consumed_nor_heard() -> None:
    with torch.random.fork_rng():
        state = torch.random.get_rng_state()
        found = []
        for seed in (0, 1):
            with drawn_from(SECRET, "a"), torch.random.fork_rng():
                torch.manual_seed(seed)
                found.append([d(torch.ones(16)) for d in DRAWING])
        with drawn_from(SECRET, "a"):
            for d in DRAWING:
                d(torch.ones(16))
        assert torch.equal(torch.random.get_rng_state(), state)
    assert all(map(torch.equal, *found))


def test_an_inner_block_gives_the_outer_one_back() -> None:
    like = torch.zeros(8)
    with drawn_from(SECRET, "outer"):
        whole = [draws.normal(like) for _ in range(4)]
    with drawn_from(SECRET, "outer"):
        found = [draws.normal(like)]
        with drawn_from(OTHER, "inner"):
            assert torch.equal(draws.normal(like), under(OTHER, "inner"))
        found.append(draws.normal(like))
        with drawn_from(None, "inner"):
            found.append(draws.normal(like))
        with pytest.raises(KeyError), drawn_from(OTHER):
            raise KeyError
        found.append(draws.normal(like))
    assert all(map(torch.equal, found, whole))
    with stream(0):
        expected = torch.randn_like(like)
    with stream(0):
        assert torch.equal(draws.normal(like), expected)  # and torch back after the last


def test_a_short_secret_is_refused() -> None:
    wanted = r"at least 32 bytes wanted, as secrets.token_bytes\(32\) gives: got 31"
    with pytest.raises(ValueError, match=wanted), drawn_from(SECRET[:31]):
        pass
    with pytest.raises(ValueError, match=wanted):
        owner(Laplace(0.5), SECRET[:31])
    with pytest.raises(ValueError, match="got 0"), drawn_from(b""):
        pass


def test_nothing_is_imported_before_there_is_a_secret() -> None:
    code = (
        "import sys, torch; from cutlayer.defences import Laplace; from cutlayer import draws\n"
        "with draws.drawn_from(None): Laplace(1.0)(torch.zeros(3))\n"
        "assert 'cryptography' not in sys.modules\n"
        "with draws.drawn_from(bytes(32)): Laplace(1.0)(torch.zeros(3))\n"
        "assert 'cryptography' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# Why: what a server can do that has every shared file, the code, all names and the seed.

ROOT, AT = 5, At("session", 0, 2, 3)


def segment() -> nn.Sequential:
    with stream(ROOT, "weights"):
        return nn.Sequential(nn.Linear(4, 64), nn.ReLU())


def owner(defence: Defence, secret: bytes | None) -> Owner:
    x = torch.linspace(0, 1, 32).view(8, 4)
    side = Defended(segment(), Chain(defence))
    return Owner(0, side, None, (x, torch.zeros(8).long()), root=ROOT, secret=secret)


def sent(defence: Defence, secret: bytes | None, at: At = AT) -> tuple[Tensor, Tensor]:
    """The one message that the server gets, and what the owner would not have it see."""
    party = owner(defence, secret)
    tap = Tap(Server(nn.Linear(64, 2), None, root=ROOT, shape=(64,)))
    party.step(torch.arange(8), tap, at=at)
    return tap.seen[0], party.data[0]


def regenerated(defence: Defence, x: Tensor) -> Tensor:
    """The message for ``x`` as the server makes it from what is shared."""
    with torch.no_grad(), stream(ROOT, "owner0", AT.epoch, AT.step):
        return Defended(segment(), Chain(defence))(x)


@pytest.mark.parametrize("defence", DRAWING, ids=repr)
def test_without_a_secret_the_server_draws_what_the_owner_drew(defence: Defence) -> None:
    message, x = sent(defence, None)
    assert torch.equal(message, regenerated(defence, x))


@pytest.mark.parametrize("defence", DRAWING, ids=repr)
def test_with_a_secret_it_does_not_and_the_owner_can_send_again(defence: Defence) -> None:
    message, x = sent(defence, SECRET)
    guessed = regenerated(defence, x)
    with drawn_from(OTHER, AT.session, "owner0", AT.epoch, AT.step):
        also = regenerated(defence, x)
    for wrong in (guessed, also):  # zeros can be met by chance
        assert (message != wrong).float().mean() > 0.1
    assert torch.equal(message, sent(defence, SECRET)[0])


@pytest.mark.parametrize("defence", [d for d in ADDED if d.site == "cut"], ids=repr)
def test_only_without_a_secret_the_noise_can_be_subtracted(
    defence: Noise | MutualInformation,
) -> None:
    open_message, x = sent(defence, None)
    secret_message, _ = sent(defence, SECRET)
    with torch.no_grad():
        clean = segment()(x)
    with stream(ROOT, "owner0", AT.epoch, AT.step):
        noise = defence(torch.zeros_like(clean))
    assert torch.allclose(open_message - noise, clean, atol=1e-5)  # float32, |noise| below 30
    left = (secret_message - noise - clean).std().item()
    assert left > 1.2 * (secret_message - clean).std().item() > 0  # worse than not to try: √2


def test_another_session_draws_other_noise_under_the_same_secret() -> None:
    """Or two strengths of one noise could be solved for it."""
    x = sent(Laplace(0.5), SECRET)[1]
    with torch.no_grad():
        clean = segment()(x)
    one = (sent(Laplace(0.5), SECRET)[0] - clean) / 0.5
    two = (sent(Laplace(1.0), SECRET, At("another", 0, 2, 3))[0] - clean) / 1.0
    assert abs(stats.spearmanr(one.flatten(), two.flatten()).statistic) < 0.2


def test_torch_keeps_only_32_bits_of_a_seed() -> None:
    """Why there is a keystream at all: the seed of the 63 bits we derive can be tried out."""
    seed = seed_of(ROOT, "owner0", 2, 3)
    assert seed > 2**32
    for other in (seed % 2**32, seed % 2**32 + 2**32):
        a, b = (torch.Generator().manual_seed(s) for s in (seed, other))
        assert torch.equal(torch.randn(1000, generator=a), torch.randn(1000, generator=b))


def test_behind_a_relu_the_zeros_tell_the_seed() -> None:
    """The server knows no name here: it tries seeds, and reads what it looks for in the zeros."""
    message, x = sent(Gaussian(0.5), None)
    right = seed_of(ROOT, "owner0", AT.epoch, AT.step) % 2**32
    found = []
    for seed in range(right - 100, right + 100):  # 200 of the 2**32
        noise = 0.5 * torch.randn(message.shape, generator=torch.Generator().manual_seed(seed))
        found.append((message - noise).abs().lt(1e-6).float().mean().item())
    with torch.no_grad():
        zeros = (segment()(x) == 0).float().mean().item()
    assert found[100] >= zeros > 0.1
    assert max(found[:100] + found[101:]) < 0.01


@pytest.mark.parametrize("noise", ADDED, ids=repr)
def test_another_message_under_the_same_name_carries_other_noise(noise: Defence) -> None:
    """Or a server that has an owner repeat a step subtracts one message from the other."""
    t, u = torch.zeros(1000), torch.zeros(1000).index_fill(0, torch.tensor(999), 1e-6)
    sent = []
    for message in (t, t, u):
        with drawn_from(SECRET, "owner0", 0, 0):
            sent.append(noise(message))
    assert torch.equal(sent[0], sent[1])
    assert not torch.isclose(sent[0], sent[2])[:999].any()
