"""The project that the tests run in, and the types of the fixtures that store in it."""

from collections.abc import Callable

PROJECT = "demo-tests"
BUCKET = "thinnestai-recordings"
SIGNER = "signer@demo-tests.iam.gserviceaccount.com"

PutCall = Callable[..., int]
PutKey = Callable[..., str]
