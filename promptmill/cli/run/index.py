"""Which lines have been seen, answered or have failed: in a private database on disk, so that memory
stays bounded whatever the files hold. The database has no name and vanishes when it is closed.
"""

from __future__ import annotations

import sqlite3
from hashlib import blake2b
from typing import NamedTuple

from client.wire.schemas import Shortfall

CACHE_KIB = 24 * 1024  # pages kept in memory; the rest waits in the temporary file
KEY_BYTES = 16  # of a digest: 10 million lines collide with a chance of 1 in 10^24

_SCHEMA = f"""
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA temp_store = FILE;
PRAGMA cache_size = -{CACHE_KIB};
CREATE TABLE seen (key BLOB PRIMARY KEY, line INT, uses INT) WITHOUT ROWID;
CREATE TABLE done (key BLOB PRIMARY KEY, round INT, offset INT, short TEXT) WITHOUT ROWID;
CREATE TABLE failed (key BLOB PRIMARY KEY, round INT, offset INT) WITHOUT ROWID;
BEGIN;
"""


class Answered(NamedTuple):
    """A line of the output: how many runs have asked for it again, where it is, and what the answer lacks."""

    round: int
    offset: int
    shortfall: Shortfall | None


class Index:
    """Sets keyed by custom_id, and by custom_id and hash together."""

    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.executescript(_SCHEMA)
        self._run = self._db.execute
        self._any_done = self._any_failed = False
        self.superseded_answers = 0  # lines of the output that a later line has replaced
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

    def mark_done(self, custom_id: str, body_hash: str, answer: Answered) -> None:
        """Its answer is in the output; an error line it may have, or an earlier answer, is out of date."""
        key = _key(custom_id, body_hash)
        self._any_done = True
        if not self._run("INSERT OR IGNORE INTO done VALUES (?, ?, ?, ?)", (key, *answer)).rowcount:
            self.superseded_answers += 1
            self._run("REPLACE INTO done VALUES (?, ?, ?, ?)", (key, *answer))
        if self._any_failed and self._run("SELECT 1 FROM failed WHERE key = ?", (key,)).fetchone():
            self.superseded_errors += 1

    def mark_failed(self, custom_id: str, body_hash: str, retry_round: int, offset: int) -> None:
        """Its error is in the error file at byte `offset`; an earlier error of it is out of date."""
        key = _key(custom_id, body_hash)
        self._any_failed = True
        known = self._run("SELECT 1 FROM failed WHERE key = ?", (key,)).fetchone()
        if known or self._is_answered_since(custom_id, body_hash, retry_round):
            self.superseded_errors += 1
        self._run("INSERT OR REPLACE INTO failed VALUES (?, ?, ?)", (key, retry_round, offset))

    def is_done(self, custom_id: str, body_hash: str) -> bool:
        return self.answer(custom_id, body_hash) is not None

    def answer(self, custom_id: str, body_hash: str) -> Answered | None:
        """The last answer of the line; None where it has none."""
        if not self._any_done:
            return None
        query = "SELECT round, offset, short FROM done WHERE key = ?"
        row = self._run(query, (_key(custom_id, body_hash),)).fetchone()
        return None if row is None else Answered(*row)

    def is_current_answer(self, custom_id: str, body_hash: str, offset: int) -> bool:
        """Whether the line of the output at `offset` is the last word about its line."""
        answer = self.answer(custom_id, body_hash)
        return answer is not None and answer.offset == offset

    def failed_round(self, custom_id: str, body_hash: str) -> int | None:
        """The round in which it failed last, or None where it has not."""
        row = self._failure(custom_id, body_hash)
        return None if row is None else row[0]

    def next_round(self, custom_id: str, body_hash: str) -> int:
        """In how many runs it was asked for."""
        answer = self.answer(custom_id, body_hash)
        rounds = (self.failed_round(custom_id, body_hash), answer.round if answer else None)
        return max((known + 1 for known in rounds if known is not None), default=0)

    def is_current_error(self, custom_id: str, body_hash: str, offset: int) -> bool:
        """Whether the error line at `offset` is the last word about its line."""
        row = self._failure(custom_id, body_hash)
        return (
            row is not None and row[1] == offset and not self._is_answered_since(custom_id, body_hash, row[0])
        )

    def _is_answered_since(self, custom_id: str, body_hash: str, retry_round: int) -> bool:
        """Whether it has an answer that is not from before, and was to be replaced by what failed."""
        answer = self.answer(custom_id, body_hash)
        return answer is not None and answer.round >= retry_round

    def _failure(self, custom_id: str, body_hash: str) -> tuple[int, int] | None:
        if not self._any_failed:
            return None
        query = "SELECT round, offset FROM failed WHERE key = ?"
        row = self._run(query, (_key(custom_id, body_hash),)).fetchone()
        return None if row is None else (int(row[0]), int(row[1]))


def _key(custom_id: str, body_hash: str = "") -> bytes:
    return blake2b(f"{body_hash}\0{custom_id}".encode(), digest_size=KEY_BYTES).digest()
