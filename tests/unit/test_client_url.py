"""URLs: every form is understood, and a refusal never shows the password."""

from __future__ import annotations

import pytest
from arq.connections import RedisSettings

from client import InvalidRedisURL, redis_settings
from client.redis.url import server_address

PASSWORD = "Zebra4711"


def test_a_plain_url() -> None:
    settings = server_address("redis://user:p%40ss%2F%3A@db.example:6380/3")
    assert (settings.host, settings.port, settings.database) == ("db.example", 6380, 3)
    assert (settings.username, settings.password) == ("user", "p@ss/:")
    assert not settings.ssl


@pytest.mark.parametrize("url", ["redis://", "redis://localhost", " redis://localhost:6379/0\n"])
def test_what_is_left_out_has_the_usual_values(url: str) -> None:
    settings = server_address(url)
    assert (settings.host, settings.port, settings.database) == ("localhost", 6379, 0)
    assert (settings.username, settings.password) == (None, None)


def test_an_ipv6_host() -> None:
    settings = server_address(f"redis://:{PASSWORD}@[::1]:6381/1")
    assert (settings.host, settings.port, settings.database) == ("::1", 6381, 1)


def test_a_database_may_be_an_option() -> None:
    assert server_address("redis://localhost?db=4").database == 4
    assert server_address("unix:///run/redis.sock?db=5").database == 5


def test_a_unix_socket() -> None:
    settings = server_address(f"unix://user:{PASSWORD}@/run/my%20redis.sock")
    assert settings.unix_socket_path == "/run/my redis.sock"
    assert (settings.username, settings.password) == ("user", PASSWORD)


def test_tls_verifies_certificate_and_host_by_default() -> None:
    settings = server_address("rediss://host")
    assert settings.ssl
    assert (settings.ssl_cert_reqs, settings.ssl_check_hostname) == ("required", True)


@pytest.mark.parametrize(
    ("url", "argument", "expected"),
    [
        ("rediss://host", "none", ("none", False)),
        ("rediss://host", "CERT_NONE", ("none", False)),
        ("rediss://host?ssl_cert_reqs=none", None, ("none", False)),
        ("rediss://host?ssl_cert_reqs=required", "none", ("required", True)),
        ("rediss://host", "optional", ("optional", False)),
        ("rediss://host?ssl_check_hostname=no", None, ("required", False)),
    ],
)
def test_tls_verification_can_be_chosen_and_the_url_wins(
    url: str, argument: str | None, expected: tuple[str, bool]
) -> None:
    settings = server_address(url, ssl_cert_reqs=argument)
    assert (settings.ssl_cert_reqs, settings.ssl_check_hostname) == expected


def test_the_tls_files_are_passed_on() -> None:
    settings = server_address("rediss://h?ssl_ca_certs=/ca.pem&ssl_certfile=/c.pem&ssl_keyfile=/k.pem")
    assert (settings.ssl_ca_certs, settings.ssl_certfile, settings.ssl_keyfile) == (
        "/ca.pem",
        "/c.pem",
        "/k.pem",
    )


def test_a_sentinel_url_names_several_hosts_and_the_master() -> None:
    settings = server_address("redis+sentinel://user:p%40ss@one:26380,two,[::1]:26381/mymaster/2")
    assert settings.host == [("one", 26380), ("two", 26379), ("::1", 26381)]
    assert (settings.sentinel, settings.sentinel_master, settings.database) == (True, "mymaster", 2)
    assert (settings.username, settings.password, settings.ssl) == ("user", "p@ss", False)
    assert server_address("rediss+sentinel://one/mymaster").ssl


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "must start with one of redis://"),
        ("localhost:6379", "must start with one of"),
        (f"http://:{PASSWORD}@host", "must start with one of"),
        (f"redis://:{PASSWORD}@host:port", "port must be a number"),
        (f"redis://:{PASSWORD}@host:0", "port must be a number"),
        (f"redis://:{PASSWORD}@host:65536", "port must be a number"),
        (f"redis://:{PASSWORD}@host/first", "database must be a number"),
        (f"redis://:{PASSWORD}@host/²", "database must be a number"),
        (f"redis://:{PASSWORD}@host?db=-1", "database must be a number"),
        *(
            (f"redis://:{PASSWORD}@host?namespace={name}", "namespace must be 1 to 32 of a-z, 0-9, _ and -")
            for name in ("", "LLM", "a.b", "{a}", "a%7Db", "a*", "%C3%A9", "a" * 33, "a%0A", "%31%00")
        ),
        (f"redis+sentinel://:{PASSWORD}@host/m?namespace=A", "namespace must be"),
        (f"redis://:{PASSWORD}@host?timeout=3", "option we do not know, 'timeout'"),
        (f"redis://:{PASSWORD}@[::1", "host cannot be read"),
        (f"redis://:{PASSWORD}@ho\u2100st", "host cannot be read"),
        # a password whose special characters were not escaped lands elsewhere in the URL
        (f"redis://:a/{PASSWORD}@host", "%2F"),
        (f"redis://:a?{PASSWORD}=b@host", "%2F"),
        (f"redis://:a#{PASSWORD}@host", "%2F"),
        (f"redis://:[{PASSWORD}]@host", "host cannot be read"),
        (f"redis://user:{PASSWORD}", "port must be a number"),
        (f"unix://:{PASSWORD}@", "needs the path"),
        ("unix://run/redis.sock", "third slash"),
        (f"redis+sentinel://:{PASSWORD}@host:26379", "must name the master"),
        (f"redis+sentinel://:{PASSWORD}@host:x/mymaster", "port must be a number"),
        (f"redis+sentinel://:{PASSWORD}@host,,other/mymaster", "sentinel has no host name"),
        (f"redis+sentinel://:{PASSWORD}@host/mymaster/x", "database must be a number"),
        (f"rediss://:{PASSWORD}@host?ssl_cert_reqs=sure", "none, optional, required"),
        (f"rediss://:{PASSWORD}@host?ssl_check_hostname=perhaps", "must be true or false"),
        (f"rediss://:{PASSWORD}@host?ssl_cert_reqs=none&ssl_check_hostname=true", "needs ssl_cert_reqs"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_its_password(url: str, reason: str) -> None:
    with pytest.raises(InvalidRedisURL) as refusal:
        server_address(url)
    sentence = str(refusal.value)
    assert sentence.startswith("The Redis URL cannot be used: ")
    assert reason in sentence
    assert PASSWORD not in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert refusal.value.__suppress_context__


def test_a_producer_that_has_arq_gets_its_settings() -> None:
    settings = redis_settings("rediss://user:secret@host:6380/3", ssl_cert_reqs="none")
    assert isinstance(settings, RedisSettings)
    assert (settings.host, settings.port, settings.database, settings.password) == ("host", 6380, 3, "secret")
    assert (settings.ssl, settings.ssl_cert_reqs, settings.conn_timeout) == (True, "none", 5)
    assert "secret" not in repr(server_address("redis://:secret@host"))


def test_what_the_url_and_the_argument_do_not_say_the_environment_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REDIS_SSL_CERT_REQS", "none")
    assert server_address("rediss://host").ssl_cert_reqs == "none"
    assert server_address("rediss://host", ssl_cert_reqs="required").ssl_cert_reqs == "required"
    assert (
        server_address("rediss://host?ssl_cert_reqs=optional", ssl_cert_reqs="none").ssl_cert_reqs
        == "optional"
    )
    monkeypatch.setenv("REDIS_SSL_CERT_REQS", " ")
    assert server_address("rediss://host").ssl_cert_reqs == "required"
    monkeypatch.setenv("REDIS_SSL_CERT_REQS", "maybe")
    assert not server_address("redis://host").ssl
    with pytest.raises(InvalidRedisURL, match="REDIS_SSL_CERT_REQS"):
        server_address("rediss://host")
