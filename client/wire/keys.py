"""Every Redis key, built in this one file.

    key                     type    holds                                score / unit    TTL
    arq:job:{id}            string  the job, JSON                        —               its deadline, 1 day by default
    arq:in-progress:{id}    string  fencing token while the job runs;    —               longest timeout + 1 h
                                    'ended' for a while after a cron job                 60 s
    arq:retry:{id}          string  tries used                           —               88,400 s
    arq:result:{id}         string  the result, JSON                     —               RESULT_TTL_S
    arq:queue               zset    job ids, and those that moved from   Unix ms, due;   none: members are removed
                                    here into a lane                     ELSEWHERE_MS
    arq:abort               zset    job ids to abort                     Unix ms         none: members are removed
    {lane}:health-check     string  a line of a worker's counts: the     —               its interval + 1 s
                                    queue's workers, and CPU's
    mill:attempts:{id}      list    attempts of a live job's runs that   —               1 day after the last
                                    were not answered, JSON
    mill:last:{id}          string  how a live job's last run ended, or  —               88,400 s; its deadline
                                    what was to run by a deadline, JSON                  and 1 day
    mill:lanes              zset    lanes                                Unix ms, look   none: members are removed
    mill:lanes:cpu          zset    the lanes of CPU jobs, 'cpu…'        Unix ms, look   none: members are removed
    mill:lanes:of:{queue}   zset    that queue of arq's alone            Unix ms, look   1 day after a claim with jobs
    mill:lane:{name}        zset    job ids                              Unix ms, due    none: members are removed
    mill:returns            zset    '{ms} {lane}' of leases; of waits    Unix ms, back   none: members are removed
                                    for a try '{place} {lane} LF {id}'
    mill:turns:{key}        zset    '{lane} LF {id}' of a conversation's Unix ms, place  31 days after the last
                                    jobs that wait to start
    mill:crashes:{id}       list    '{Unix ms} {token}' of each crash    —               1 day after the last
    mill:dead               zset    ids of dead letters                  Unix ms, died   30 days after the last
    mill:dead:{id}          hash    job, lane, result, crashes, attempts —               30 days
    mill:limits             hash    limit key or 'prefix:*' → Limit, JSON —              none: configuration
    mill:limits:seeded      hash    the same, as last read from settings —               none: configuration
    mill:aliases            hash    '@chat', '@embed' → a worker's models —              7 days after a start
    mill:flow:{key}         hash    a limit key's rates, spend, congestion Unix ms       30 days after the last
    mill:slots:{key}        zset    holders: job ids, calls' tickets     Unix ms, lapses 31 days after the last
    mill:blocked:{key}      zset    lanes and tickets that wait for it   Unix ms, since  31 days after the last
    mill:gates              zset    limit keys that are waited for       Unix ms, look   none: members are removed
    mill:unreadable         zset    '{lane} LF {id}' of jobs left unread Unix ms, deadline none: members are removed
    mill:epoch              string  tells that Redis has lost its data   —               7 days after the last claim
    mill:nothing            —       never there: on a full server        —               —
                                    scripts delete it first, and where
                                    a slot moves it stops them (scripts.py)
    mill:calls:{process}    channel the ticket of a call that got its slots              (not a key)
    mill:stream:{id}        stream  events of a streamed answer          '{µs}-{n}'      STREAM_TTL_S after its end
    mill:parts:{id}         hash    parts of a job that are done, float32 —              1 day after the last
    mill:parts:={part}      hash    one of a job that failed, for others  —              1 day
    mill:aside              zset    keys that were set aside, as they    Unix ms, then   7 days after the last
                                    held another type than is told here
    mill:aside:{key}        any     what such a key held, 100 at most    —               7 days
    mill:cost:{day}         hash    'model|tenant|what' → tokens, USD, calls —           400 days
    mill:counted:{worker}   string  number of its last writing of totals —               1 day after the last
    mill:events:{id}        channel the same events, as they are written —               (not a key)
    mill:wake               channel '' there is work; an id: abort it    —               (not a key)
    mill:done:{id}          channel says that arq:result:{id} is there   —               (not a key)

arq's keys keep arq's names, so that arq's own clients and tools read them. Where the URL names a namespace, it stands
before all of them, arq's and the channels included, as '{llm}:arq:queue': first, so that braces in ids and lanes do no
harm, and all of a namespace is in one slot of a cluster. `Keys` is also the table of names that every Lua script gets
(client/redis/texts.py).

Channels know no databases, so those of database n, above 0, are mill:db{n}:wake and so on. In database 0 nothing has
changed. In others, processes of the version before, which use the names of database 0 everywhere, and new ones do not
hear each other while a deploy lasts. They all go by what Redis holds: a job starts at a worker's next poll, within
0.5 s; a result is seen by the sweep (client/follow/sweep.py), and then the rest of its stream; a poll finds aborts.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from .lane import parts_of

# the score in `queue`, or a later one in the year 9999, of a job that has moved from there into a lane
ELSEWHERE_MS = 253_370_764_800_000
ATTEMPTS_TTL_S = 86_400  # seconds an attempt is remembered while its job waits for another run
MAX_ATTEMPTS = 200  # remembered; a job may be turned away for a day, its result must not grow as long


_TAG = re.compile(r"\{[a-z0-9_-]{1,32}\}:")  # a namespace's


def prefix_of(namespace: str) -> str:
    """What stands before all names of a namespace."""
    return f"{{{namespace}}}:" if namespace else ""


class _Name:
    """One key."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, keys: Keys, _: type[Keys]) -> str:
        return self.built(keys)

    def built(self, keys: Keys) -> str:
        return keys.prefix + self.name


class _Family(_Name):
    """Keys of one kind: called with what tells one from the others."""

    def __get__(self, keys: Keys, _: type[Keys]) -> Callable[[str], str]:  # type: ignore[override]
        return self.built(keys).__add__


class _Channel(_Name):
    """One channel, or all of one kind, of a database."""

    def built(self, keys: Keys) -> str:
        return f"{keys.prefix}mill:{f'db{keys.database}:' if keys.database else ''}{self.name}"


class _Channels(_Channel, _Family):
    """Channels of one kind: called with what tells one from the others."""


@dataclass(frozen=True, slots=True)
class Keys:
    """Builds every key, channel and pattern. A connection tells which are its own: connection.py's `keys_at`."""

    prefix: str = ""
    database: int = 0  # of the server; the channels carry it, as channels know no databases

    queue = _Name("arq:queue")
    aborts = _Name("arq:abort")
    lanes = _Name("mill:lanes")
    cpu_lanes = _Name("mill:lanes:cpu")
    limits = _Name("mill:limits")
    limits_seeded = _Name("mill:limits:seeded")
    aliases = _Name("mill:aliases")
    gates = _Name("mill:gates")
    epoch = _Name("mill:epoch")
    nothing = _Name("mill:nothing")
    unreadable = _Name("mill:unreadable")
    returns = _Name("mill:returns")
    dead_letters = _Name("mill:dead")
    aside = _Name("mill:aside")
    wake_channel = _Channel("wake")

    own_lanes = _Family("mill:lanes:of:")  # of a queue with a name of its own, by its key

    # of a job, by its id
    job = _Family("arq:job:")
    in_progress = _Family("arq:in-progress:")
    retry = _Family("arq:retry:")
    result = _Family("arq:result:")
    attempts = _Family("mill:attempts:")
    last = _Family("mill:last:")
    crashes = _Family("mill:crashes:")
    dead = _Family("mill:dead:")
    stream = _Family("mill:stream:")
    parts = _Family("mill:parts:")
    events_channel = _Channels("events:")
    done_channel = _Channels("done:")

    set_aside = _Family("mill:aside:")  # by the key

    # of a limit key
    flow = _Family("mill:flow:")
    slots = _Family("mill:slots:")
    blocked = _Family("mill:blocked:")
    turns = _Family("mill:turns:")

    lane = _Family("mill:lane:")  # by its name; a score is the next moment the job is somebody's business
    cost = _Family("mill:cost:")  # by the day, a date in UTC: 2026-11-22
    counted = _Family("mill:counted:")  # of a worker, by a name that is new at each start
    calls_channel = _Channels("calls:")  # of a process

    def names(self) -> dict[str, str]:
        """Every key and channel by its name here; of those of one kind, what they begin with. For Lua."""
        return {name: one.built(self) for name, one in vars(Keys).items() if isinstance(one, _Name)}

    @property
    def flow_or_slots(self) -> str:
        """The pattern of both, for one scan."""
        return f"{self.prefix}mill:[fs]lo*"

    def health(self, queue: str) -> str:
        """Where the workers report that serve a queue or the lane of CPU jobs; `queue` is its key."""
        return f"{queue}:health-check"

    def lanes_of(self, lane_key: str) -> str:
        """Where a lane waits for its turn: `cpu` and `cpu|…` have workers of their own, and so has each queue with
        a name of its own. Lua: names.lua."""
        if self.is_named(lane_key):
            return self.own_lanes(lane_key)
        return self.cpu_lanes if parts_of(self.lane_name(lane_key))[:1] == ["cpu"] else self.lanes

    def is_named(self, queue: str) -> bool:
        """Whether it is a queue of arq's with a name of its own, and no lane of ours; by its key."""
        return queue != self.queue and not queue.startswith(self.lane(""))

    def own(self, name: str) -> str:
        """A key that arq, or a user, calls `name`: in the namespace, where there is one."""
        return name if name.startswith(self.prefix) else self.prefix + name

    def is_free(self, queue: str) -> bool:
        """Whether a queue of arq's may be called so, by its key: no key of another kind begins with it, and no
        namespace has it."""
        if _TAG.match(queue.removeprefix(self.prefix)):
            return False
        return not any(queue.startswith(key) for name, key in self.names().items() if name != "queue")

    def is_lane(self, key: str) -> bool:
        """Whether it can be a lane, or such a queue: no other key of ours is taken for one, and none of another
        namespace. Lua: names.lua."""
        name = key.removeprefix(self.prefix)
        is_here = name != "" and key == self.prefix + name and not _TAG.match(name)
        return not self.is_named(key) or (is_here and not self._is_own(key))

    def _is_own(self, key: str) -> bool:
        names = self.names().values()
        return key in names or any(name.endswith(":") and key.startswith(name) for name in names)

    def lane_name(self, lane_key: str) -> str:
        """The name of a lane; empty for a queue that is no lane of ours, such as arq's."""
        prefix = self.lane("")
        return lane_key[len(prefix) :] if lane_key.startswith(prefix) else ""

    def job_id_of(self, channel: bytes) -> str:
        """The job id in the name of a done channel."""
        return channel[len(self.done_channel("")) :].decode()

    def is_events(self, channel: bytes) -> bool:
        """Whether it is the channel of a stream's events."""
        return channel.startswith(self.events_channel("").encode())

    def job_id_of_events(self, channel: bytes) -> str:
        """The job id in the name of an events channel."""
        return channel[len(self.events_channel("")) :].decode()


KEYS = Keys()
