"""The key file: one that cannot sign links stops the start with one sentence that says why."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from google.oauth2.service_account import Credentials

from call_api.recordings.key_file import MAX_FILE_BYTES, fault_of, key_from_file
from call_api.settings import SettingsError
from local.signer import new_signer
from tests.support.project import SIGNER

GOOD, PUBLIC_KEY = new_signer(SIGNER)
NOT_RSA = 'its "private_key" is not an RSA key of 2048 to 4096 bits'
UNREADABLE = 'its "private_key" cannot be read'
NO_EMAIL = 'its "client_email" is not an e-mail address'
NO_TYPE = 'its "type" is not "service_account"'


def pem(key: Any, password: bytes | None = None) -> str:
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password is not None:
        encryption = serialization.BestAvailableEncryption(password)
    encoded: bytes = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )
    return encoded.decode()


@functools.cache
def rsa_key(bits: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def damaged_key() -> str:
    """Return a key of which so much is wrong that no signature of it verifies."""
    sound = rsa_key(2048).private_numbers()
    damaged = rsa.RSAPrivateNumbers(
        p=sound.p,
        q=sound.q,
        d=sound.d + 2,
        dmp1=sound.dmp1 + 2,
        dmq1=sound.dmq1,
        iqmp=sound.iqmp,
        public_numbers=sound.public_numbers,
    )
    return pem(damaged.private_key(unsafe_skip_rsa_key_validation=True))


def without(name: str) -> dict[str, str]:
    return {key: value for key, value in GOOD.items() if key != name}


# Made in the test: to make a long RSA key takes seconds.
UNUSABLE_KEYS: dict[str, tuple[Callable[[], str], str]] = {
    "an EC key": (lambda: pem(ec.generate_private_key(ec.SECP256R1())), NOT_RSA),
    "an Ed25519 key": (lambda: pem(ed25519.Ed25519PrivateKey.generate()), NOT_RSA),
    "a DSA key": (lambda: pem(dsa.generate_private_key(2048)), NOT_RSA),
    "a short RSA key": (lambda: pem(rsa_key(2040)), NOT_RSA),
    "a long RSA key": (lambda: pem(rsa_key(4104)), NOT_RSA),
    "a damaged RSA key": (damaged_key, 'its "private_key" is damaged'),
    "a key with a password": (lambda: pem(rsa_key(2048), b"s3cret"), UNREADABLE),
    "a public key": (
        lambda: PUBLIC_KEY.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ).decode(),
        UNREADABLE,
    ),
    "a cut key": (lambda: GOOD["private_key"][:-100], UNREADABLE),
    "no PEM": (lambda: "s3cret", UNREADABLE),
    "an empty key": (str, UNREADABLE),
}
UNUSABLE: dict[str, tuple[object, str]] = {
    **{
        f"the e-mail address {email!r}": (GOOD | {"client_email": email}, NO_EMAIL)
        for email in ("", " ", "s3cret", "@", "a@b", "a@b.", "@b.c", f" {SIGNER}", f"{SIGNER}\n")
    },
    **{
        f"no {name}": (without(name), f'its "{name}" is missing')
        for name in ("client_email", "private_key", "token_uri")
    },
    **{
        f"{value!r} for {name}": (GOOD | {name: value}, f'its "{name}" is missing')
        for name in ("client_email", "private_key", "token_uri")
        for value in (None, 5, ["s3cret"])
    },
    **{
        f"the type {kind!r}": (GOOD | {"type": kind}, NO_TYPE)
        for kind in ("authorized_user", "external_account", "", None, ["service_account"])
    },
    "no type": (without("type"), NO_TYPE),
    "another universe": (
        GOOD | {"universe_domain": "example.goog"},
        'its "universe_domain" is not "googleapis.com"',
    ),
    "a list": ([GOOD], NO_TYPE),
    "a text": ("s3cret", NO_TYPE),
    "null": (None, NO_TYPE),
}
NOT_JSON = {
    "nothing": b"",
    "a text": b"s3cret",
    "half of a key file": json.dumps(GOOD).encode()[:-100],
    "other bytes": b"\xff\xfe\xfds3cret",
    "deep nesting": b"[" * 60_000,
    "a long file": b" " * MAX_FILE_BYTES + json.dumps(GOOD).encode(),
}


def refusal_of(path: Path) -> str:
    with pytest.raises(SettingsError) as refused:
        key_from_file(path)
    assert refused.value.__cause__ is None
    sentence, why = str(refused.value).split(": ", maxsplit=1)
    assert sentence == "RECORDING_SIGNER_KEY_FILE is no service-account key"
    return why


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "key.json"


@pytest.mark.parametrize(("key", "why"), UNUSABLE_KEYS.values(), ids=UNUSABLE_KEYS)
def test_a_key_that_cannot_sign_is_refused(key: Callable[[], str], why: str, file: Path) -> None:
    file.write_text(json.dumps(GOOD | {"private_key": key()}))

    assert refusal_of(file) == why


@pytest.mark.parametrize(("contents", "why"), UNUSABLE.values(), ids=UNUSABLE)
def test_a_file_that_is_no_key_file_is_refused(contents: object, why: str, file: Path) -> None:
    file.write_text(json.dumps(contents))

    assert refusal_of(file) == why


@pytest.mark.parametrize("contents", NOT_JSON.values(), ids=NOT_JSON)
def test_a_file_that_is_not_json_is_refused(contents: bytes, file: Path) -> None:
    file.write_bytes(contents)

    assert refusal_of(file) == "the file is not JSON"


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing", tmp_path / ("x" * 300)):
        assert refusal_of(path) == "the file cannot be read"


@pytest.mark.parametrize("bits", [2048, 4096])
def test_a_key_that_signs_is_taken(bits: int, file: Path) -> None:
    file.write_text(json.dumps(GOOD | {"private_key": pem(rsa_key(bits))}))

    assert key_from_file(file).service_account_email == SIGNER


def test_default_credentials_with_an_ec_key_or_without_an_address_sign_nothing() -> None:
    curve = {"private_key": pem(ec.generate_private_key(ec.SECP256R1()))}

    for change, fault in ((curve, NOT_RSA), ({"client_email": 5}, NO_EMAIL)):
        assert fault_of(Credentials.from_service_account_info(GOOD | change)) == fault
