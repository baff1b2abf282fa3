"""A service account that exists on this machine alone."""

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa


def new_signer(email: str) -> tuple[dict[str, str], rsa.RSAPublicKey]:
    """Return what the account's key file holds, and the public key that its signatures keep to."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    key_file = {
        "type": "service_account",
        "private_key": pem.decode(),
        "client_email": email,
        "token_uri": "https://oauth2.googleapis.com/token",  # required, and never asked
    }
    return key_file, key.public_key()
