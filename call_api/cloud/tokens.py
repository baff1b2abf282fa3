"""Access tokens of the Application Default Credentials, refreshed single-flight.

A token moves through three states:

- fresh: callers get it;
- stale, in the last `REFRESH_MARGIN` of its life: callers get it, and the next one is fetched in
  the background;
- invalid, after its expiry or once an upstream has refused it: callers wait for the next one.

A failed refresh changes nothing, so a stale token serves until it expires. The next caller that
needs a token starts the next refresh.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar

from google.auth.credentials import Credentials
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import Request
from grpc import StatusCode

from call_api.cloud.channels import status_of

# Finds the Application Default Credentials, and the ID of the project that they name, if any.
DefaultCredentials = Callable[[], tuple[Any, str | None]]

# google-auth's own margin. The metadata server hands out the same token until 4 minutes before its
# expiry, so an earlier refresh would return it again.
REFRESH_MARGIN = timedelta(minutes=3, seconds=45)

_TOKEN = re.compile(r"[\x21-\x7e]+")  # what fits into an Authorization header
# google-auth indexes and converts what the metadata server answers without checking it first.
_MALFORMED_ANSWER = (KeyError, TypeError, ValueError, OverflowError)

T = TypeVar("T")


class TokenUnavailable(Exception):
    """There is no access token right now; a later request may get one."""


class AccessTokens:
    """Access tokens of the Application Default Credentials, refreshed single-flight.

    Not thread-safe: one event loop uses it. Finding the credentials and refreshing them block, so
    both run in threads, one at a time each, and go on when a caller is cancelled.
    """

    def __init__(
        self,
        find: DefaultCredentials,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._find = find
        self._now = now
        self._found: tuple[Credentials, str | None] | None = None
        self._token: _Token | None = None
        self._search = _SingleFlight(self._find_credentials)
        self._refresh = _SingleFlight(self._fetch_token)

    async def with_token(self, ask: Callable[[str], Awaitable[T]]) -> T:
        """Ask an upstream with a token; one that it refuses (UNAUTHENTICATED) is replaced once.

        Raises:
            TokenUnavailable: there is no token right now.
            GoogleAuthError: there are no credentials.
            Exception: what `ask` raised, also UNAUTHENTICATED to the second token.
        """
        token = await self.get()
        try:
            return await ask(token)
        except Exception as error:
            if status_of(error) is not StatusCode.UNAUTHENTICATED:
                raise
        self.reject(token)
        return await ask(await self.get())

    async def credentials(self) -> tuple[Credentials, str | None]:
        """Return the credentials, and the ID of the project that they name, if any.

        Raises:
            GoogleAuthError: there are none; the next call looks again.
        """
        return self._found or await self._search.result()

    async def get(self) -> str:
        """Return a token that has not expired and that no upstream has refused.

        Raises:
            TokenUnavailable: there is none right now.
            GoogleAuthError: there are no credentials.
        """
        token, now = self._token, self._now()
        if token is None or not token.is_valid_at(now):
            token = await self._refresh.result()
        elif not token.is_valid_at(now + REFRESH_MARGIN):
            self._refresh.start()
        return token.text

    def reject(self, token: str) -> None:
        """Note that an upstream refused this token, so that the next `get` waits for another.

        Of many requests that were refused with one token, only the first causes a refresh: for the
        others the current token is already another one, and nothing happens.
        """
        if self._token is not None and self._token.text == token:
            self._token = None

    async def _find_credentials(self) -> tuple[Credentials, str | None]:
        found = await asyncio.to_thread(self._find)
        self._found = found
        return found

    async def _fetch_token(self) -> "_Token":
        credentials, _ = await self.credentials()
        token = await asyncio.to_thread(_refreshed, credentials)
        if not token.is_valid_at(self._now()):
            raise TokenUnavailable("expired token")
        self._token = token
        return token


@dataclass(frozen=True)
class _Token:
    text: str
    expiry: datetime | None  # None where it never expires

    def is_valid_at(self, moment: datetime) -> bool:
        return self.expiry is None or moment < self.expiry


class _SingleFlight(Generic[T]):
    """Work that runs at most once at a time, for all callers that wait for it.

    A caller that is cancelled leaves it running for the others.
    """

    def __init__(self, work: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._work = work
        self._task: asyncio.Task[T] | None = None

    def start(self) -> "asyncio.Task[T]":
        """Start the work unless it is running."""
        if self._task is None:
            self._task = asyncio.create_task(self._work())
            self._task.add_done_callback(self._end)
        return self._task

    async def result(self) -> T:
        """Wait for the work, and start it unless it is running."""
        task = self.start()
        await asyncio.wait([task])
        return task.result()

    def _end(self, task: "asyncio.Task[T]") -> None:
        self._task = None
        if not task.cancelled():
            task.exception()  # or asyncio would report a failure that no caller waited for


def _refreshed(credentials: Credentials) -> _Token:
    """Refresh the credentials and return their token. Blocks."""
    try:
        credentials.refresh(Request())
    except GoogleAuthError as error:
        raise TokenUnavailable(type(error).__name__) from error
    except _MALFORMED_ANSWER as error:
        raise TokenUnavailable(f"malformed answer: {type(error).__name__}") from error
    text, expiry = credentials.token, credentials.expiry  # the expiry is naive, in UTC
    if not isinstance(text, str) or not _TOKEN.fullmatch(text):
        raise TokenUnavailable("malformed token")
    return _Token(text, expiry and expiry.replace(tzinfo=UTC))
