"""Every way to a server, and one quick sentence for every way it can fail."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis
import trustme

from client import Job, Queue, QueueUnavailable, encode
from client.redis import connection as connections
from tests.conftest import KEYS, Server, wait_blocking, wait_until
from tests.tls import port_of, tls_in_front

pytestmark = pytest.mark.plain(
    "of servers, which it sets up, and of the forms of URLs; no script is concerned"
)

PASSWORD = "Zebra4711"
QUICK_S = 3.0


async def refusal(url: str, **options: Any) -> str:
    """The sentence that a server at `url` is refused with, which must come quickly."""
    began_s = time.monotonic()
    async with Queue.from_url(url, **options) as queue:
        with pytest.raises(QueueUnavailable) as refused:
            await queue.ping()
        with pytest.raises(QueueUnavailable) as again:
            await queue.chat("hi")
    assert time.monotonic() - began_s < QUICK_S
    assert str(again.value) == str(refused.value)
    assert PASSWORD not in str(refused.value)
    return str(refused.value)


async def works(url: str, **options: Any) -> None:
    """A job can be enqueued at `url` and its result waited for."""
    async with Queue.from_url(url, **options) as queue:
        job: Job[Any] = await queue.chat("hi", job_id="a")
        waiting = asyncio.create_task(job.result(10))
        await wait_until(lambda: bool(queue.session.listener._waiters), description="the waiter")
        record = {"t": 1, "f": "f", "a": [], "k": {}, "et": 1, "s": True, "r": "answer", "st": 1, "ft": 1}
        async with queue.session.redis.pipeline(transaction=True) as end:
            end.set(KEYS.result("a"), encode(record), px=60_000)
            end.delete(KEYS.job("a"))
            end.publish(KEYS.done_channel("a"), "")
            await end.execute()
        assert await waiting == "answer"


# ---- TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
async def tls_port(server: Server, authority: trustme.CA) -> AsyncIterator[int]:
    async with tls_in_front(server, authority) as port:
        yield port


async def test_a_certificate_of_a_known_authority_is_accepted(
    tls_port: int, authority: trustme.CA, tmp_path: Path
) -> None:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    await works(f"rediss://localhost:{tls_port}?ssl_ca_certs={tmp_path / 'ca.pem'}")


async def test_a_certificate_for_another_host_is_refused(
    tls_port: int, authority: trustme.CA, tmp_path: Path
) -> None:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    url = f"rediss://127.0.0.1:{tls_port}?ssl_ca_certs={tmp_path / 'ca.pem'}"
    assert "certificate that cannot be verified" in await refusal(url)
    await works(f"{url}&ssl_check_hostname=false")


async def test_a_self_signed_certificate_is_refused_with_the_way_out(tls_port: int) -> None:
    assert await refusal(f"rediss://:{PASSWORD}@localhost:{tls_port}") == (
        "Redis shows a certificate that cannot be verified. If it is self-signed, as on Heroku: "
        "REDIS_SSL_CERT_REQS=none for workers and commands, ?ssl_cert_reqs=none at the end of the URL elsewhere."
    )


async def test_a_self_signed_certificate_is_accepted_where_that_is_asked_for(tls_port: int) -> None:
    await works(f"rediss://localhost:{tls_port}", ssl_cert_reqs="none")


async def test_the_url_may_ask_for_it_too(tls_port: int) -> None:
    await works(f"rediss://localhost:{tls_port}?ssl_cert_reqs=none")


async def test_a_plain_client_on_a_tls_port_is_told_so(tls_port: int) -> None:
    assert "use rediss://" in await refusal(f"redis://localhost:{tls_port}")


async def test_a_tls_client_on_a_plain_port_is_told_so() -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"-ERR unknown command\r\n")
        await writer.drain()

    async with port_of(plain) as port:
        assert "use redis:// for plain, rediss:// for TLS" in await refusal(f"rediss://localhost:{port}")


async def test_a_server_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    monkeypatch.setattr("client.redis.url.CONNECT_TIMEOUT_S", 0.1)
    async with port_of(silent) as port:
        assert "Redis takes no connection" in await refusal(f"rediss://localhost:{port}")


# ---- refusals


async def test_a_port_where_nobody_listens() -> None:
    assert await refusal("redis://127.0.0.1:1") == (
        "Redis cannot be reached: check REDIS_URL and that the server is up."
    )


async def test_a_socket_that_is_not_there(tmp_path: Path) -> None:
    assert "Redis cannot be reached" in await refusal(f"unix://{tmp_path}/none.sock")


async def test_sentinels_that_are_not_there() -> None:
    assert "Redis cannot be reached" in await refusal("redis+sentinel://127.0.0.1:1,127.0.0.1:2/mymaster")


@pytest.fixture
def locked(own_server: Server) -> Server:
    with own_server.client() as client:
        client.config_set("requirepass", PASSWORD)
    return own_server


@pytest.mark.parametrize("user", ["", ":wrong@", "nobody:wrong@", f"nobody:{PASSWORD}@"])
async def test_a_wrong_or_missing_password(locked: Server, user: str) -> None:
    url = f"unix://{user}{locked.socket}"
    sentence = "Redis refused the user or the password: check the credentials in REDIS_URL."
    assert await refusal(url) == sentence
    async with Queue.from_url(url) as queue:
        with pytest.raises(QueueUnavailable) as refused:
            await queue.job("a").result(5)
    assert str(refused.value) == sentence


async def test_the_right_password(locked: Server) -> None:
    await works(f"unix://:{PASSWORD}@{locked.socket}")
    await works(f"unix://default:{PASSWORD}@{locked.socket}?db=1")


async def test_a_user_without_rights(own_server: Server) -> None:
    with own_server.client() as client:
        client.execute_command("ACL", "SETUSER", "guest", "on", f">{PASSWORD}", "+client", "+hello")
    async with Queue.from_url(f"unix://guest:{PASSWORD}@{own_server.socket}") as queue:
        with pytest.raises(
            QueueUnavailable, match=r"does not allow its user all that is needed: grant \+ping "
        ):
            await queue.ping()
        with pytest.raises(QueueUnavailable, match=r"grant \+evalsha "):
            await queue.chat("hi")


async def test_a_database_that_is_not_there(server: Server) -> None:
    assert "DB index is out of range" in await refusal(f"{server.url}?db=99")


async def test_a_server_that_is_full(own_server: Server) -> None:
    with own_server.client() as client:
        client.config_set("maxmemory", "1")
    async with Queue.from_url(own_server.url) as queue:
        with pytest.raises(QueueUnavailable, match="out of memory: raise maxmemory"):
            await queue.chat("hi")


async def test_a_replica_that_only_reads(own_server: Server) -> None:
    with own_server.client() as client:
        client.execute_command("REPLICAOF", "127.0.0.1", "1")
    async with Queue.from_url(own_server.url) as queue:
        with pytest.raises(QueueUnavailable, match="read-only replica: point REDIS_URL at the primary"):
            await queue.chat("hi")


async def test_a_command_is_sent_again_after_the_connection_broke(server: Server, queue: Queue) -> None:
    await queue.ping()
    with server.client() as client:
        client.client_kill_filter(_type="normal", skipme=True)
    assert (await queue.chat("hi", job_id="a")).id == "a"
    with server.client() as client:
        assert client.zcard(KEYS.lane("@chat")) == 1


async def test_a_busy_client_waits_for_a_connection_and_is_never_refused(
    server: Server, queue: Queue
) -> None:
    await asyncio.gather(*(queue.chat("hi") for _ in range(500)))
    assert await queue.session.redis.zcard(KEYS.lane("@chat")) == 500
    pool = queue.session.redis.connection_pool
    assert len(pool._available_connections) == connections.COMMAND_CONNECTIONS


# ---- sentinel


@pytest.fixture
def sentinel_port(own_server: Server, tmp_path: Path) -> Iterator[int]:
    """A real sentinel that watches a real server."""
    with own_server.client() as client:
        client.config_set("port", "0")
        port = _free_port()
        client.config_set("port", str(port))
    sentinel = _free_port()
    config = tmp_path / "sentinel.conf"
    config.write_text(
        f"bind 127.0.0.1\nport {sentinel}\ndir {tmp_path}\nsentinel monitor mymaster 127.0.0.1 {port} 1\n"
    )
    process = subprocess.Popen(
        [own_server.binary, str(config), "--sentinel"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_blocking(lambda: _answers(sentinel), description="the sentinel answers")
        yield sentinel
    finally:
        process.terminate()
        process.wait(10)


def _answers(port: int) -> bool:
    with redis.Redis(port=port) as client, suppress(redis.ConnectionError):
        return bool(client.ping())
    return False


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


async def test_a_sentinel_leads_to_the_master(sentinel_port: int) -> None:
    await works(f"redis+sentinel://127.0.0.1:1,127.0.0.1:{sentinel_port}/mymaster")
    await works(f"redis+sentinel://127.0.0.1:{sentinel_port}/mymaster/2")


async def test_a_master_that_the_sentinel_does_not_know(sentinel_port: int) -> None:
    assert "Redis cannot be reached" in await refusal(f"redis+sentinel://127.0.0.1:{sentinel_port}/other")
