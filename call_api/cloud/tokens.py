"""Access tokens of the Application Default Credentials, refreshed single-flight.

A token moves through three states:

- fresh: callers get it;
- stale, in the last `REFRESH_MARGIN` of its life: callers get it, and the next one is fetched in
  the background;
- invalid, after its expiry or once an upstream has refused it: callers wait for the next one.

A failed refresh changes nothing, so a stale token serves until it expires. The next caller that
needs a token starts the next refresh. An attempt that gets no answer within ATTEMPT_SECONDS is left to
end by itself, and the next caller starts another one, on a new connection.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar

from grpc import StatusCode

from call_api.cloud.credentials import CredentialsError, DefaultCredentials, Token, refreshed
from call_api.cloud.failures import Failure, status_of

# google-auth's own margin. The metadata server hands out the same token until 4 minutes before its
# expiry, so an earlier refresh would return it again.
REFRESH_MARGIN = timedelta(minutes=3, seconds=45)
ATTEMPT_SECONDS = 2.5  # less than a request has for its read, so that the next one starts anew
MAX_ATTEMPTS = 4  # at a time: each keeps a thread until it ends

T = TypeVar("T")


class AccessTokens:
    """Access tokens of the Application Default Credentials, refreshed single-flight.

    Not thread-safe: one event loop uses it. Finding the credentials (`find`) and refreshing them block,
    so both run in threads, and go on when a caller is cancelled.
    """

    def __init__(
        self,
        find: Callable[[], DefaultCredentials],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._find = find
        self._now = now
        self._found: DefaultCredentials | None = None
        self._token: Token | None = None
        self._search = _Attempts(self._find_credentials)
        self._refresh = _Attempts(self._fetch_token)

    async def with_token(self, ask: Callable[[str], Awaitable[T]]) -> T:
        """Ask an upstream with a token; one that it refuses (UNAUTHENTICATED) is replaced once.

        Raises:
            CredentialsError: there is no token.
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

    async def credentials(self) -> DefaultCredentials:
        """Return the credentials and the project.

        Raises:
            CredentialsError: there are none; the next call looks again.
        """
        return self._found or await self._search.result()

    async def get(self) -> str:
        """Return a token that has not expired and that no upstream has refused.

        Raises:
            CredentialsError: there is none.
        """
        token, now = self._token, self._now()
        if token is None or not token.is_valid_at(now):
            token = await self._refresh.result()
        elif not token.is_valid_at(now + REFRESH_MARGIN):
            self._refresh.start()
        return token.text

    def has_valid(self) -> bool:
        """Tell whether `get` would return at once."""
        return self._token is not None and self._token.is_valid_at(self._now())

    def reject(self, token: str) -> None:
        """Note that an upstream refused this token, so that the next `get` waits for another.

        Of many requests that were refused with one token, only the first causes a refresh: for the
        others the current token is already another one, and nothing happens.
        """
        if self._token is not None and self._token.text == token:
            self._token = None

    async def _find_credentials(self) -> DefaultCredentials:
        found = await asyncio.to_thread(self._find)
        self._found = self._found or found  # an attempt that comes late replaces nothing
        return self._found

    async def _fetch_token(self) -> Token:
        credentials, _ = await self.credentials()
        token = await asyncio.to_thread(refreshed, credentials)
        if not token.is_valid_at(self._now()):
            raise CredentialsError(Failure(True, "expired token"))
        if self._token is None or self._token.expires_before(token):
            self._token = token
        return self._token


class _Attempts(Generic[T]):
    """Attempts at one piece of work, of which callers wait for the newest, together.

    Another one starts if there is none, or if the newest has taken ATTEMPT_SECONDS. A caller that is
    cancelled leaves it running for the others.
    """

    def __init__(self, work: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._work = work
        self._attempts: set[asyncio.Task[T]] = set()
        self._newest: asyncio.Task[T] | None = None
        self._began_at = 0.0

    def start(self) -> "asyncio.Task[T] | None":
        """Return the attempt that is running, or a new one if that is late or has ended.

        None: too many attempts have not ended.
        """
        now = asyncio.get_running_loop().time()
        if self._newest in self._attempts and now < self._began_at + ATTEMPT_SECONDS:
            return self._newest
        if len(self._attempts) >= MAX_ATTEMPTS:
            return None
        self._newest = asyncio.create_task(self._work())
        self._began_at = now
        self._attempts.add(self._newest)
        self._newest.add_done_callback(self._end)
        return self._newest

    async def result(self) -> T:
        """Wait for the work, and start it unless it is running.

        Raises:
            CredentialsError: it has not ended in time.
        """
        attempt = self.start()
        if attempt is None:
            raise CredentialsError(Failure(True, "no answer to several attempts"))
        time_left = self._began_at + ATTEMPT_SECONDS - asyncio.get_running_loop().time()
        await asyncio.wait([attempt], timeout=time_left)
        if not attempt.done():
            raise CredentialsError(Failure(True, f"no answer within {ATTEMPT_SECONDS} s"))
        return attempt.result()

    def _end(self, attempt: "asyncio.Task[T]") -> None:
        self._attempts.discard(attempt)
        if not attempt.cancelled():
            attempt.exception()  # or asyncio would report a failure that no caller waited for
