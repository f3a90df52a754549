"""Which lines have been seen, answered or have failed: in a private database on disk, so that memory
stays bounded whatever the files hold. The database has no name and vanishes when it is closed.
"""

from __future__ import annotations

import sqlite3
from hashlib import blake2b

CACHE_KIB = 24 * 1024  # pages kept in memory; the rest waits in the temporary file
KEY_BYTES = 16  # of a digest: 10 million lines collide with a chance of 1 in 10^24

_SCHEMA = f"""
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA temp_store = FILE;
PRAGMA cache_size = -{CACHE_KIB};
CREATE TABLE seen (key BLOB PRIMARY KEY, line INT, uses INT) WITHOUT ROWID;
CREATE TABLE done (key BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE failed (key BLOB PRIMARY KEY, round INT, offset INT) WITHOUT ROWID;
BEGIN;
"""


class Index:
    """Sets keyed by custom_id, and by custom_id and hash together."""

    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.executescript(_SCHEMA)
        self._run = self._db.execute
        self._any_done = self._any_failed = False
        self.superseded_errors = 0  # lines of the error file that a later line has replaced

    def close(self) -> None:
        self._db.close()

    def start_pass(self) -> None:
        """Forgets which lines were seen, not which have finished."""
        self._run("DELETE FROM seen")

    def claim(self, custom_id: str, line: int) -> int | None:
        """None where the id is new; otherwise the line that has it."""
        key = _key(custom_id)
        if self._run("INSERT OR IGNORE INTO seen VALUES (?, ?, 1)", (key, line)).rowcount:
            return None
        return int(self._run("SELECT line FROM seen WHERE key = ?", (key,)).fetchone()[0])

    def count(self, content_id: str, line: int) -> int:
        """How many lines of this content there have been, this one included."""
        key = _key(content_id)
        if self._run("INSERT OR IGNORE INTO seen VALUES (?, ?, 1)", (key, line)).rowcount:
            return 1
        row = self._run("UPDATE seen SET uses = uses + 1 WHERE key = ? RETURNING uses", (key,)).fetchone()
        return int(row[0])

    def mark_done(self, custom_id: str, body_hash: str) -> None:
        """Its answer is in the output; an error line it may have is out of date."""
        key = _key(custom_id, body_hash)
        self._any_done = True
        self._run("INSERT OR IGNORE INTO done VALUES (?)", (key,))
        if self._any_failed and self._run("SELECT 1 FROM failed WHERE key = ?", (key,)).fetchone():
            self.superseded_errors += 1

    def mark_failed(self, custom_id: str, body_hash: str, retry_round: int, offset: int) -> None:
        """Its error is in the error file at byte `offset`; an earlier error of it is out of date."""
        key = _key(custom_id, body_hash)
        self._any_failed = True
        known = self._run("SELECT 1 FROM failed WHERE key = ?", (key,)).fetchone()
        if known or self.is_done(custom_id, body_hash):
            self.superseded_errors += 1
        self._run("INSERT OR REPLACE INTO failed VALUES (?, ?, ?)", (key, retry_round, offset))

    def is_done(self, custom_id: str, body_hash: str) -> bool:
        if not self._any_done:
            return False
        row = self._run("SELECT 1 FROM done WHERE key = ?", (_key(custom_id, body_hash),)).fetchone()
        return row is not None

    def failed_round(self, custom_id: str, body_hash: str) -> int | None:
        """The round in which it failed last, or None where it has not."""
        row = self._failure(custom_id, body_hash)
        return None if row is None else row[0]

    def is_current_error(self, custom_id: str, body_hash: str, offset: int) -> bool:
        """Whether the error line at `offset` is the last word about its line."""
        row = self._failure(custom_id, body_hash)
        return row is not None and row[1] == offset and not self.is_done(custom_id, body_hash)

    def _failure(self, custom_id: str, body_hash: str) -> tuple[int, int] | None:
        if not self._any_failed:
            return None
        query = "SELECT round, offset FROM failed WHERE key = ?"
        row = self._run(query, (_key(custom_id, body_hash),)).fetchone()
        return None if row is None else (int(row[0]), int(row[1]))


def _key(custom_id: str, body_hash: str = "") -> bytes:
    return blake2b(f"{body_hash}\0{custom_id}".encode(), digest_size=KEY_BYTES).digest()
