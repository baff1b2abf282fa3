"""The rules of V4 signed URLs, as Cloud Storage documents them, and names that put them to the test."""

import hashlib
from urllib.parse import parse_qsl, quote, urlsplit

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from tests.support.project import BUCKET

# Each with the extension that the link's file name gets.
NAMES = {
    "recordings/2026/03/25/call-77.wav": ".wav",
    "a b  c.mp3": ".mp3",
    "#?&+%.ogg": ".ogg",
    "%2F%25/100%.wav": ".wav",
    "नमस्ते/मदद.wav": ".wav",
    "👋🏽/😀.wav": ".wav",
    'it\'s "quoted".wav': ".wav",
    "/leading//double/": "",
    "../../other-bucket/secret.wav": ".wav",
    "semi;colon=equals,comma~tilde.wav": ".wav",
    "back\\slash\tand\nfeed.wav": ".wav",
    "call.tar.gz": ".gz",
    "call.WAV": ".WAV",
    ".wav": ".wav",
    "call.123456789": "",
    "call.wav\n": "",
    "call.wäv": "",
    'call."; filename="evil': "",
    "call.": "",
    "no-extension": "",
    "x" * 1024: "",
}


def check_v4(
    url: str,
    name: str,
    public_key: RSAPublicKey,
    email: str,
    *,
    method: str = "GET",
    bucket: str = BUCKET,
) -> None:
    """Derive what V4 wants signed from what the link is for, and check the signature of that.

    https://cloud.google.com/storage/docs/authentication/canonical-requests
    """
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query, strict_parsing=True))
    signature = query.pop("X-Goog-Signature")
    date = query["X-Goog-Date"]
    scope = f"{date[:8]}/auto/storage/goog4_request"
    assert query["X-Goog-Credential"] == f"{email}/{scope}"
    request = "\n".join(
        [
            method,
            f"/{bucket}/{quote(name, safe='/')}",
            "&".join(f"{quote(k, safe='')}={quote(v, safe='')}" for k, v in sorted(query.items())),
            f"host:{parts.netloc}",
            "",
            "host",
            "UNSIGNED-PAYLOAD",
        ]
    )
    digest = hashlib.sha256(request.encode()).hexdigest()
    message = f"GOOG4-RSA-SHA256\n{date}\n{scope}\n{digest}"
    public_key.verify(bytes.fromhex(signature), message.encode(), PKCS1v15(), SHA256())
