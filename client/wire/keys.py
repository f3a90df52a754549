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
    mill:attempts:{id}      list    failed attempts of a live job, JSON  —               1 day after the last
    mill:lanes              zset    lanes                                Unix ms, look   none: members are removed
    mill:lanes:cpu          zset    the lanes of CPU jobs, 'cpu…'        Unix ms, look   none: members are removed
    mill:lane:{name}        zset    job ids                              Unix ms, due    none: members are removed
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
    mill:epoch              string  tells that Redis has lost its data   —               7 days after the last claim
    mill:calls:{process}    channel the ticket of a call that got its slots              (not a key)
    mill:stream:{id}        stream  events of a streamed answer          '{µs}-{n}'      its result's, else 1 day
    mill:parts:{id}         hash    parts of a job that are done, float32 —              1 day after the last
    mill:cost:{day}         hash    'model|tenant|what' → tokens, USD, calls —           400 days
    mill:events:{id}        channel the same events, as they are written —               (not a key)
    mill:wake               channel '' there is work; an id: abort it    —               (not a key)
    mill:done:{id}          channel says that arq:result:{id} is there   —               (not a key)

arq's keys keep arq's names, so that arq's own clients and tools read them.
"""

from __future__ import annotations

from arq.constants import (
    abort_jobs_ss,
    default_queue_name,
    in_progress_key_prefix,
    job_key_prefix,
    result_key_prefix,
    retry_key_prefix,
)

QUEUE = default_queue_name
# the score in QUEUE, in the year 9999, of a job that has moved from there into a lane
ELSEWHERE_MS = 253_370_764_800_000
ABORTS = abort_jobs_ss
LANES = "mill:lanes"
CPU_LANES = "mill:lanes:cpu"
LIMITS = "mill:limits"
LIMITS_SEEDED = "mill:limits:seeded"
ALIASES = "mill:aliases"
GATES = "mill:gates"
EPOCH = "mill:epoch"
DEAD = "mill:dead"
WAKE_CHANNEL = "mill:wake"
ATTEMPTS_TTL_S = 86_400  # seconds a failed attempt is remembered while its job waits for another try

_DONE_PREFIX = "mill:done:"
_EVENTS_PREFIX = "mill:events:"


def job(job_id: str) -> str:
    return job_key_prefix + job_id


def in_progress(job_id: str) -> str:
    return in_progress_key_prefix + job_id


def retry(job_id: str) -> str:
    return retry_key_prefix + job_id


def result(job_id: str) -> str:
    return result_key_prefix + job_id


def attempts(job_id: str) -> str:
    return f"mill:attempts:{job_id}"


def lane(name: str) -> str:
    """The queue of a lane. A score is the next moment the job is somebody's business."""
    return f"mill:lane:{name}"


def lanes_of(lane_key: str) -> str:
    """Where a lane waits for its turn: `cpu` and `cpu|…` have workers of their own. Lua: gates.lua."""
    return CPU_LANES if lane_name(lane_key).split("|")[0] == "cpu" else LANES


def flow(limit_key: str) -> str:
    return f"mill:flow:{limit_key}"


def slots(limit_key: str) -> str:
    return f"mill:slots:{limit_key}"


def blocked(limit_key: str) -> str:
    return f"mill:blocked:{limit_key}"


def stream(job_id: str) -> str:
    return f"mill:stream:{job_id}"


def parts(job_id: str) -> str:
    return f"mill:parts:{job_id}"


def cost(day: str) -> str:
    """`day` is a date in UTC, 2026-11-22."""
    return f"mill:cost:{day}"


def events_channel(job_id: str) -> str:
    return _EVENTS_PREFIX + job_id


def calls_channel(process: str) -> str:
    return f"mill:calls:{process}"


def lane_name(lane_key: str) -> str:
    """The name of a lane; empty for a queue that is no lane of ours, such as arq's."""
    prefix = lane("")
    return lane_key[len(prefix) :] if lane_key.startswith(prefix) else ""


def crashes(job_id: str) -> str:
    return f"mill:crashes:{job_id}"


def dead(job_id: str) -> str:
    return f"mill:dead:{job_id}"


def done_channel(job_id: str) -> str:
    return _DONE_PREFIX + job_id


def job_id_of(channel: bytes) -> str:
    """The job id in the name of a done channel."""
    return channel[len(_DONE_PREFIX) :].decode()


def is_events(channel: bytes) -> bool:
    """Whether it is the channel of a stream's events."""
    return channel.startswith(_EVENTS_PREFIX.encode())


def job_id_of_events(channel: bytes) -> str:
    """The job id in the name of an events channel."""
    return channel[len(_EVENTS_PREFIX) :].decode()
