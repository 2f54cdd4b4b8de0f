"""The HTTP client for deliveries: the only module that knows the library (imported where it is used).

Rule 1. A name is resolved by us, every answer is checked (`addresses`), and the connection goes to a checked
        address; the name stays in the Host header and in TLS (SNI and certificate).
Rule 2. Nothing from the environment decides where a request goes: no proxy, no .netrc. (SSL_CERT_FILE and
        SSL_CERT_DIR add certificate authorities.) No redirect is followed, no cookie kept, no body
        decompressed.
Rule 3. One deadline covers everything up to the status; of the body at most `BODY_CAP` bytes are read, for at
        most `BODY_SECONDS`, and only so that the connection can be used again.
Rule 4. Errors leave here as `SinkUnavailable` with a reason of ours, never with a text of the receiver or the
        library.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import httpx

from tidemill.errors import SinkUnavailable
from tidemill.sinks import addresses

__all__ = ["BODY_CAP", "BODY_SECONDS", "Outgoing", "Reply"]

#: Most bytes read of an answer's body.
BODY_CAP = 65_536
#: Longest time the rest of an answer is read after its status, in seconds.
BODY_SECONDS = 1.0
#: Longest time the addresses of a name are taken for granted, in seconds.
RESOLVED_SECONDS = 10.0
#: Connections to one receiver, and how many of them are kept open while idle.
MAX_CONNECTIONS = 64
#: How long an idle connection is kept, in seconds.
IDLE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Reply:
    """What is used of an answer."""

    status: int
    #: As sent; None when absent.
    retry_after: str | None
    #: The answer of a handshake (HTTP webhooks, section 4.2), as sent.
    allowed_origin: str | None = None
    allowed_rate: str | None = None


class Outgoing:
    """A pool of connections to one receiver."""

    def __init__(
        self,
        *,
        resolver: addresses.Resolver = addresses.system_resolver,
        tls: ssl.SSLContext | None = None,
        body_seconds: float = BODY_SECONDS,
        allows: Callable[[str], bool] = addresses.is_allowed,
    ) -> None:
        """`allows` says of each resolved address whether it may be dialled."""
        self._resolver = resolver
        self._allows = allows
        self._tls = tls
        self._body_seconds = body_seconds
        self._transport: _CheckedTransport | None = None

    async def post(self, url: str, *, headers: Mapping[str, str], body: bytes, within: float) -> Reply:
        """Post `body` and return the answer's status, `within` seconds.

        Raises `SinkUnavailable` when there was no answer: whether the receiver took the body is then unknown.
        """
        return await self._send("POST", url, headers=headers, body=body, within=within)

    async def options(self, url: str, *, headers: Mapping[str, str], within: float) -> Reply:
        """Ask what `url` allows, `within` seconds; raises `SinkUnavailable` as `post` does."""
        return await self._send("OPTIONS", url, headers=headers, body=b"", within=within)

    async def _send(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes, within: float
    ) -> Reply:
        try:
            async with asyncio.timeout(within):
                request = httpx.Request(method, url, headers=headers, content=body)
                response = await self._open(request.url).handle_async_request(request)
        except TimeoutError:
            raise SinkUnavailable(f"the receiver did not answer within {within:g} s") from None
        except httpx.ConnectError as error:
            raise SinkUnavailable(_connect_reason(error)) from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise SinkUnavailable(f"the connection broke off: {type(error).__name__}") from None
        told = response.headers
        reply = Reply(
            response.status_code,
            told.get("retry-after"),
            told.get("webhook-allowed-origin"),
            told.get("webhook-allowed-rate"),
        )
        await self._discard(response)
        return reply

    async def close(self) -> None:
        """Close every connection; a later post opens new ones."""
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.aclose()

    async def _discard(self, response: httpx.Response) -> None:
        """Read the rest of a short answer; one that is long, slow or broken costs its connection only."""
        with contextlib.suppress(TimeoutError, httpx.HTTPError, OSError):
            async with asyncio.timeout(self._body_seconds):
                size = 0
                async for chunk in response.aiter_raw():
                    size += len(chunk)
                    if size > BODY_CAP:
                        break
        with contextlib.suppress(httpx.HTTPError, OSError):
            await response.aclose()

    def _open(self, url: httpx.URL) -> _CheckedTransport:
        if self._transport is None:
            self._transport = _CheckedTransport(
                self._resolver, tls=self._tls or _tls_for(url), allows=self._allows
            )
        return self._transport


class _CheckedTransport(httpx.AsyncHTTPTransport):
    """Sends each request to an address that was resolved and checked here.

    Used without an `httpx.AsyncClient`, which would add cookies, redirects, proxies and decompression.
    """

    def __init__(
        self, resolver: addresses.Resolver, *, tls: ssl.SSLContext, allows: Callable[[str], bool]
    ) -> None:
        limits = httpx.Limits(
            max_connections=MAX_CONNECTIONS,
            max_keepalive_connections=MAX_CONNECTIONS,
            keepalive_expiry=IDLE_SECONDS,
        )
        super().__init__(verify=tls, trust_env=False, limits=limits)
        self._resolver = resolver
        self._allows = allows
        self._resolved: tuple[str, ...] = ()
        self._resolved_until = 0.0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        host, port = url.raw_host.decode("ascii"), url.port or (443 if url.scheme == "https" else 80)
        request.extensions = {**request.extensions, "sni_hostname": host}
        found = await self._addresses(host, port)
        for address in found[:-1]:
            request.url = url.copy_with(host=address)
            try:
                response = await super().handle_async_request(request)
            except httpx.ConnectError:
                continue  # nothing was sent: the next address may be tried
            self._resolved = (address, *(other for other in found if other != address))
            return response
        request.url = url.copy_with(host=found[-1])
        try:
            return await super().handle_async_request(request)
        except httpx.ConnectError:
            self._resolved = ()  # ask for the name again
            raise

    async def _addresses(self, host: str, port: int) -> tuple[str, ...]:
        now = asyncio.get_running_loop().time()
        if not self._resolved or now >= self._resolved_until:
            self._resolved = await addresses.resolve(host, port, self._resolver, allows=self._allows)
            self._resolved_until = now + RESOLVED_SECONDS
        return self._resolved


def _tls_for(url: httpx.URL) -> ssl.SSLContext:
    """Full verification for https; for http, as reading authorities is slow, one that trusts nobody."""
    if url.scheme == "https":
        return httpx.create_ssl_context()
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _connect_reason(error: BaseException) -> str:
    """Whether it was TLS that failed: the causes of a connect error say so."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return "the receiver's certificate or TLS was not accepted"
        cause = cause.__cause__ or cause.__context__
    return "the receiver cannot be reached"
