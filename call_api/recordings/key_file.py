"""The service-account key that signs in process, checked by a trial signature before it is used."""

import json
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from google.auth.crypt import RSASigner
from google.oauth2.service_account import Credentials as ServiceAccountKey

from call_api.cloud.credentials import UNIVERSE
from call_api.names import is_account
from call_api.settings import SettingsError

# Google issues 2048; V4 signatures of this function are RSA only. A signature's time grows with the cube.
KEY_BITS = range(2048, 4096 + 1)
MAX_FILE_BYTES = 64 * 1024
_NOT_RSA = 'its "private_key" is not an RSA key of 2048 to 4096 bits'


def key_from_file(path: Path) -> ServiceAccountKey:
    """Return the key in the file that RECORDING_SIGNER_KEY_FILE names.

    Raises:
        SettingsError: the file has no key that signs; the message says why and quotes none of it.
    """
    try:
        with path.open("rb") as file:
            contents = file.read(MAX_FILE_BYTES)
    except OSError:
        raise _unusable("the file cannot be read") from None
    try:
        info = json.loads(contents)
    except (ValueError, RecursionError):
        raise _unusable("the file is not JSON") from None
    if not isinstance(info, dict) or info.get("type") != "service_account":
        raise _unusable('its "type" is not "service_account"')
    for name in ("client_email", "private_key", "token_uri"):
        if not isinstance(info.get(name), str):
            raise _unusable(f'its "{name}" is missing')
    if info.get("universe_domain", UNIVERSE) != UNIVERSE:
        raise _unusable(f'its "universe_domain" is not "{UNIVERSE}"')
    private_key = _private_key(info["private_key"])
    key = ServiceAccountKey(RSASigner(private_key), info["client_email"], info["token_uri"])
    if fault := fault_of(key, private_key.public_key()):
        raise _unusable(fault)
    return key


def _private_key(pem: str) -> RSAPrivateKey:
    try:
        # OpenSSL's check of the key's primes is left out, as it takes longer than all else at the start
        # that is not an import. The trial signature finds what is damaged.
        key = load_pem_private_key(pem.encode(), None, unsafe_skip_rsa_key_validation=True)
    except Exception:  # noqa: BLE001  (of several libraries; the message may quote the key)
        raise _unusable('its "private_key" cannot be read') from None
    if not isinstance(key, RSAPrivateKey):
        raise _unusable(_NOT_RSA)
    return key


def fault_of(key: ServiceAccountKey, public_key: RSAPublicKey | None = None) -> str | None:
    """Say why the key cannot sign links, or return None; it makes one trial signature.

    `public_key` verifies that signature, where the key's numbers have not been checked before.
    """
    if not is_account(key.service_account_email):
        return 'its "client_email" is not an e-mail address'
    try:
        signature = key.sign_bytes(b"trial")
        if public_key is not None:
            public_key.verify(signature, b"trial", PKCS1v15(), SHA256())
    except (InvalidSignature, ValueError):
        return 'its "private_key" is damaged'
    except Exception:  # noqa: BLE001  (an elliptic-curve key does not take RSA's parameters)
        return _NOT_RSA
    if len(signature) * 8 not in KEY_BITS:  # an RSA signature is as long as its key
        return _NOT_RSA
    return None


def _unusable(why: str) -> SettingsError:
    return SettingsError(f"RECORDING_SIGNER_KEY_FILE is no service-account key: {why}")
