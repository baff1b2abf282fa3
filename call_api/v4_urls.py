"""Builds V4 signed URLs of Cloud Storage: the string to sign, and the URL. Pure, no I/O.

The rules are Google's: https://cloud.google.com/storage/docs/authentication/signatures
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from urllib.parse import quote, urlsplit


class UnsignedUrl(NamedTuple):
    """A URL that lacks its signature, and the string to sign."""

    url: str
    string_to_sign: bytes

    def with_signature(self, signature: bytes) -> str:
        """Return the whole URL."""
        return f"{self.url}&X-Goog-Signature={signature.hex()}"


@dataclass(frozen=True)
class V4Urls:
    """Makes the URLs that answer GET for objects of one bucket.

    `endpoint` is a scheme and a `host[:port]`, as in `https://storage.googleapis.com`.
    """

    endpoint: str
    bucket: str
    valid_seconds: int

    def unsigned(
        self, object_name: str, content_disposition: str, signer_email: str, signed_at: datetime
    ) -> UnsignedUrl:
        """Return the URL of an object, to be signed by `signer_email`, valid from `signed_at` on.

        `signed_at` is in UTC. `content_disposition` is the header that the URL's reader will get.
        """
        time = signed_at.strftime("%Y%m%dT%H%M%SZ")
        scope = f"{time[:8]}/auto/storage/goog4_request"
        path = f"/{self.bucket}/{quote(object_name)}"  # which leaves the slashes of a name
        query = "&".join(
            (  # sorted by name, as the rules want them
                "X-Goog-Algorithm=GOOG4-RSA-SHA256",
                f"X-Goog-Credential={quote(f'{signer_email}/{scope}', safe='')}",
                f"X-Goog-Date={time}",
                f"X-Goog-Expires={self.valid_seconds}",
                "X-Goog-SignedHeaders=host",
                f"response-content-disposition={quote(content_disposition, safe='')}",
            )
        )
        host = urlsplit(self.endpoint).netloc
        request = f"GET\n{path}\n{query}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD"
        digest = hashlib.sha256(request.encode()).hexdigest()
        return UnsignedUrl(
            f"{self.endpoint}{path}?{query}",
            f"GOOG4-RSA-SHA256\n{time}\n{scope}\n{digest}".encode(),
        )
