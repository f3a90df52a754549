"""Every Redis key, built in this one file.

    key                     type    holds                                score / unit    TTL
    arq:job:{id}            string  the job, JSON                        —               its deadline, 1 day by default
    arq:in-progress:{id}    string  fencing token while the job runs;    —               longest timeout + 1 h
                                    'ended' for a while after a cron job                 60 s
    arq:retry:{id}          string  tries used                           —               88,400 s
    arq:result:{id}         string  the result, JSON                     —               RESULT_TTL_S
    arq:queue               zset    job ids                              Unix ms, due    none: members are removed
    arq:abort               zset    job ids to abort                     Unix ms         none: members are removed
    mill:attempts:{id}      list    failed attempts of a live job, JSON  —               1 day after the last
    mill:lanes              zset    lanes                                Unix ms, look   none: members are removed
    mill:lane:{name}        zset    job ids                              Unix ms, due    none: members are removed
    mill:crashes:{id}       list    '{Unix ms} {token}' of each crash    —               1 day after the last
    mill:dead               zset    ids of dead letters                  Unix ms, died   30 days after the last
    mill:dead:{id}          hash    job, lane, result, crashes, attempts —               30 days
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
ABORTS = abort_jobs_ss
LANES = "mill:lanes"
DEAD = "mill:dead"
WAKE_CHANNEL = "mill:wake"
ATTEMPTS_TTL_S = 86_400  # seconds a failed attempt is remembered while its job waits for another try

_DONE_PREFIX = "mill:done:"


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


def crashes(job_id: str) -> str:
    return f"mill:crashes:{job_id}"


def dead(job_id: str) -> str:
    return f"mill:dead:{job_id}"


def done_channel(job_id: str) -> str:
    return _DONE_PREFIX + job_id


def job_id_of(channel: bytes) -> str:
    """The job id in the name of a done channel."""
    return channel[len(_DONE_PREFIX) :].decode()
