"""What names of Google Cloud's resources may be.

It needs the standard library only: operators' tools read it where no package is installed.
"""

import re
from typing import TypeGuard

# Before the colon: the domain of an old project that belongs to one.
PROJECT_ID = r"([a-z0-9-]+(\.[a-z0-9-]+)+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]"
DATABASE_ID = r"\(default\)|[a-z][a-z0-9-]{2,61}[a-z0-9]"


def is_account(value: object) -> TypeGuard[str]:
    """Tell whether this can be a service account's e-mail address."""
    pattern = r"[\w.+-]+@[\w-]+(\.[\w-]+)+"
    return isinstance(value, str) and re.fullmatch(pattern, value, re.ASCII) is not None


def bucket_name(text: str) -> str:
    """Return the name of a bucket.

    "google" in a name is barred for new buckets alone, so it is not refused here.

    Raises:
        ValueError: it is none (https://cloud.google.com/storage/docs/buckets#naming).
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]", text):
        raise ValueError("not 3 to 222 lower-case letters, digits, dots, hyphens and underscores")
    is_address = re.fullmatch(r"[0-9]+(\.[0-9]+){3}", text)
    if is_address or not re.fullmatch(r"[^.]{1,63}(\.[^.]{1,63})*", text):
        raise ValueError("an IP address, or a part between dots is empty or too long")
    return text
