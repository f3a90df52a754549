"""A URL → where the server is, and how to get in.

redis://user:password@host:6379/0          rediss://…  over TLS, certificate verified
unix:///path/to/redis.sock                 rediss://…?ssl_cert_reqs=none  Heroku's self-signed one
redis+sentinel://:password@host:26379,host:26379/mymaster/0
…?namespace=llm   one of several installations that share the server, and nothing else
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import ParseResult, parse_qs, unquote, urlparse

from ..errors import InvalidRedisURL
from ..wire.keys import Keys, prefix_of

CONNECT_TIMEOUT_S = 5
CERT_REQS_VARIABLE = "REDIS_SSL_CERT_REQS"

_SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel")
_CERT_REQS = ("none", "optional", "required")
_CHECKS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_TLS_OPTIONS = ("ssl_cert_reqs", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname")
_OPTIONS = (*_TLS_OPTIONS, "db", "namespace")
_NAMESPACE = re.compile(r"[a-z0-9_-]{1,32}")


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """Where a server is, and how to get in. The names are those of arq's RedisSettings (client/arq.py)."""

    host: str | list[tuple[str, int]] = "localhost"  # the sentinels' hosts and ports, where `sentinel`
    port: int = 6379
    unix_socket_path: str | None = None
    database: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ssl: bool = False
    ssl_cert_reqs: str = "required"
    ssl_ca_certs: str | None = None
    ssl_certfile: str | None = None
    ssl_keyfile: str | None = None
    ssl_check_hostname: bool = False
    conn_timeout: int = CONNECT_TIMEOUT_S
    sentinel: bool = False
    sentinel_master: str = "mymaster"
    namespace: str = ""

    @property
    def keys(self) -> Keys:
        """The names of keys and channels there."""
        return Keys(prefix_of(self.namespace), self.database)


def server_address(url: str, *, ssl_cert_reqs: str | None = None) -> ServerAddress:
    """What the URL says. An `ssl_cert_reqs` in the URL wins over the argument, and that over REDIS_SSL_CERT_REQS
    in the environment, as Heroku has it set for all dynos of an app.

    Raises InvalidRedisURL with one sentence that never shows the URL, as it may hold a password.
    """
    try:
        parts = _parse(url.strip())
        options = _options(parts)
        found = _sentinels(parts, options) if "sentinel" in parts.scheme else _server(parts, options)
        found["namespace"] = _namespace(options)
        if parts.scheme.startswith("rediss"):
            found |= _tls(options, ssl_cert_reqs)
    except ValueError as error:
        raise InvalidRedisURL(f"The Redis URL cannot be used: {error}.") from None
    return ServerAddress(**found, conn_timeout=CONNECT_TIMEOUT_S)


def _parse(url: str) -> ParseResult:
    try:
        parts = urlparse(url)
    except ValueError:  # its words would repeat what is between // and /, the password included
        raise ValueError("its host cannot be read: write the password's special characters as %XX") from None
    if "@" in parts.query + parts.fragment or ("@" in parts.path and parts.scheme != "unix"):
        raise ValueError("its password has one of / ? # @: write them as %2F %3F %23 %40")
    return parts


def _options(parts: ParseResult) -> dict[str, str]:
    if parts.scheme not in _SCHEMES:
        raise ValueError(f"it must start with one of {', '.join(s + '://' for s in _SCHEMES)}")
    given = parse_qs(parts.query, keep_blank_values=True)  # a namespace without a name is none
    options = {name: values[-1] for name, values in given.items() if values[-1] or name == "namespace"}
    unknown = sorted(options.keys() - set(_OPTIONS))
    if unknown:
        raise ValueError(f"it has an option we do not know, {unknown[0]!r}; known are {', '.join(_OPTIONS)}")
    return options


def _server(parts: ParseResult, options: dict[str, str]) -> dict[str, Any]:
    unix = parts.scheme == "unix"
    if unix and not parts.path:
        raise ValueError("unix:// needs the path of a socket")
    if unix and parts.hostname:
        raise ValueError("unix:// needs a third slash before the path of the socket")
    return {
        "host": parts.hostname or "localhost",
        "port": _port(parts, 6379),
        "username": _plain(parts.username),
        "password": _plain(parts.password),
        "database": _database(options.get("db") or ("" if unix else parts.path.strip("/"))),
        "unix_socket_path": unquote(parts.path) if unix else None,
    }


def _sentinels(parts: ParseResult, options: dict[str, str]) -> dict[str, Any]:
    userinfo, _, hosts = parts.netloc.rpartition("@")
    user, _, password = userinfo.partition(":")
    master, _, database = parts.path.strip("/").partition("/")
    if not master:
        raise ValueError("it must name the master: redis+sentinel://host:26379/mymaster")
    return {
        "host": [_sentinel(host) for host in hosts.split(",")],
        "username": _plain(user),
        "password": _plain(password),
        "database": _database(options.get("db") or database),
        "sentinel": True,
        "sentinel_master": master,
    }


def _sentinel(host: str) -> tuple[str, int]:
    address = urlparse(f"//{host}")
    if not address.hostname:
        raise ValueError("a sentinel has no host name")
    return address.hostname, _port(address, 26379)


def _port(address: ParseResult, default: int) -> int:
    try:
        port = address.port
    except ValueError:  # its words would repeat the port, which may be half of a password
        port = 0
    if port == 0:
        raise ValueError(
            "its port must be a number from 1 to 65535; special characters of a password are %XX"
        )
    return port or default


def _tls(options: dict[str, str], ssl_cert_reqs: str | None) -> dict[str, Any]:
    told = options.get("ssl_cert_reqs") or ssl_cert_reqs or os.environ.get(CERT_REQS_VARIABLE, "").strip()
    required = (told or "required").lower().removeprefix("cert_")
    if required not in _CERT_REQS:
        raise ValueError(f"ssl_cert_reqs (or {CERT_REQS_VARIABLE}) must be one of {', '.join(_CERT_REQS)}")
    check = options.get("ssl_check_hostname", str(required == "required")).lower()
    if check not in _CHECKS:
        raise ValueError("ssl_check_hostname must be true or false")
    if _CHECKS[check] and required == "none":
        raise ValueError("ssl_check_hostname=true needs ssl_cert_reqs=required")
    files = {name: options.get(name) for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")}
    return {"ssl": True, "ssl_cert_reqs": required, "ssl_check_hostname": _CHECKS[check], **files}


def _namespace(options: dict[str, str]) -> str:
    name = options.get("namespace")
    if name is not None and not _NAMESPACE.fullmatch(name):
        raise ValueError("its namespace must be 1 to 32 of a-z, 0-9, _ and -, as in ?namespace=llm")
    return name or ""


def _plain(quoted: str | None) -> str | None:
    return unquote(quoted) if quoted else None


def _database(text: str) -> int:
    if not text:
        return 0
    if not text.isdecimal():
        raise ValueError("its database must be a number, as in redis://localhost:6379/0")
    return int(text)
