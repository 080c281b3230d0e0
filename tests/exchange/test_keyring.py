from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.keyring import BadToken, Keyring, load_keyring

KEYRING = Keyring(b"k" * 32)
OTHER = Keyring(b"o" * 32)
words = st.text(max_size=20)


@given(first=st.lists(words, max_size=4), second=st.lists(words, max_size=4))
def test_different_parts_have_different_digests(first: list[str], second: list[str]) -> None:
    """Parts cannot run together: ("ab", "c") is not ("a", "bc"), nor are they with an empty part between."""
    assert (KEYRING.digest("entry", *first) == KEYRING.digest("entry", *second)) == (first == second)


def test_a_digest_is_the_same_for_ever() -> None:
    """Idempotency ids outlive every process: this one was computed when the exchange was built."""
    assert KEYRING.digest("entry", "video", "server", "awardPoints", "1") == KEYRING.digest(
        "entry", "video", "server", "awardPoints", "1"
    )
    assert Keyring(b"k" * 32).digest("entry", "a") == "mtqyM4fmCIFlfcu0wPsbuUqV"
    assert len(KEYRING.digest("entry", "a")) == 24


def test_purposes_and_master_keys_are_apart() -> None:
    """The same parts for another purpose, or under another master key, are another digest."""
    assert len({KEYRING.digest("entry", "a"), KEYRING.digest("code", "a"), OTHER.digest("entry", "a")}) == 3


@given(plain=words, audience=words)
def test_what_is_sealed_comes_back_to_its_audience(plain: str, audience: str) -> None:
    """An identifier is the same each time, opens for its audience, and for nobody else."""
    sealed = KEYRING.seal(plain, audience)
    assert sealed == KEYRING.seal(plain, audience)
    assert KEYRING.unseal(sealed, audience) == plain
    for keyring, whom in ((KEYRING, audience + "x"), (OTHER, audience)):
        with pytest.raises(BadToken):
            keyring.unseal(sealed, whom)


@pytest.mark.parametrize("token", ["", "a", "????", "ä", "AAAA", "A" * 64, "A" * 10_000, "AB\n"])
def test_what_was_never_sealed_does_not_open(token: str) -> None:
    """Whatever a caller sends as an identifier is refused, not a crash."""
    with pytest.raises(BadToken):
        KEYRING.unseal(token, "video")


def test_a_sealed_identifier_cannot_be_altered() -> None:
    """Every changed character of it is noticed."""
    sealed = KEYRING.seal("wallet", "video")
    for place, letter in enumerate(sealed):
        with pytest.raises(BadToken):
            KEYRING.unseal(sealed[:place] + ("A" if letter != "A" else "B") + sealed[place + 1 :], "video")


@given(plain=st.binary(max_size=50))
def test_what_is_encrypted_is_bound_to_its_context(plain: bytes) -> None:
    """A code opens for its own benefit only, and two encryptions of it do not look alike."""
    cipher = KEYRING.encrypt(plain, "rides/trip")
    assert KEYRING.decrypt(cipher, "rides/trip") == plain
    assert cipher != KEYRING.encrypt(plain, "rides/trip")
    for keyring, context, data in (
        (KEYRING, "rides/other", cipher), (OTHER, "rides/trip", cipher), (KEYRING, "rides/trip", cipher[:-1]),
        (KEYRING, "rides/trip", b""),
    ):  # fmt: skip
        with pytest.raises(BadToken):
            keyring.decrypt(data, context)


def test_the_first_start_makes_a_key_and_the_next_finds_it(tmp_path: Path) -> None:
    """One machine needs no set-up; the key's file is the owner's alone."""
    first = load_keyring({}, tmp_path)
    assert load_keyring({}, tmp_path).digest("entry", "a") == first.digest("entry", "a")
    assert stat.S_IMODE((tmp_path / "secret.key").stat().st_mode) == 0o600


def test_a_given_key_comes_before_the_file(tmp_path: Path) -> None:
    """EXCHANGE_SECRET_KEY is used, and no file is made."""
    given_key = {"EXCHANGE_SECRET_KEY": "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s"}
    assert load_keyring(given_key, tmp_path).digest("entry", "a") == KEYRING.digest("entry", "a")
    assert not (tmp_path / "secret.key").exists()


@pytest.mark.parametrize("text", ["short", "a" * 43 + "!", "a2tr" * 12, "\N{SNOWMAN}"])
def test_a_key_that_is_none_is_said_so(tmp_path: Path, text: str) -> None:
    """A wrong length, or what is no base64url, is refused with its source named."""
    with pytest.raises(ValueError, match="EXCHANGE_SECRET_KEY is not 32 bytes in base64url"):
        load_keyring({"EXCHANGE_SECRET_KEY": text}, tmp_path)
    (tmp_path / "secret.key").write_text("short", encoding="utf-8")
    with pytest.raises(ValueError, match=r"secret\.key is not 32 bytes in base64url"):
        load_keyring({}, tmp_path)
    with pytest.raises(ValueError, match="the master key has 32 bytes, not 3"):
        Keyring(b"abc")
