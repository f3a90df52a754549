"""Can anyone on the way read along?"""

from __future__ import annotations

from client.redis.url import ServerAddress

from .finding import Finding

_HERE = ("localhost", "127.0.0.1", "::1")


def check_transport(target: ServerAddress) -> Finding:
    """TLS, and whether the server's certificate is verified. Shows the host and the port only."""
    if target.unix_socket_path:
        return Finding("transport", "ok", "a unix socket")
    where = _address(target)
    if not target.ssl:
        if target.host in _HERE:
            return Finding("transport", "ok", f"{where}, on this machine")
        return Finding(
            "transport", "warn", f"{where}, without TLS", "Use rediss://, unless the network is yours alone."
        )
    if target.ssl_cert_reqs == "required":
        return Finding("transport", "ok", f"{where}, over TLS, its certificate verified")
    return Finding(
        "transport",
        "warn",
        f"{where}, over TLS, but anyone's certificate is accepted",
        "Verify it with REDIS_SSL_CERT_REQS=required; Heroku's are self-signed, there it has to be so.",
    )


def _address(target: ServerAddress) -> str:
    if isinstance(target.host, str):
        return f"{target.host}:{target.port}"
    return ", ".join(f"{host}:{port}" for host, port in target.host)
