"""Everything before the first call: the files opened and locked, every line checked and counted."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from client.redis.url import server_address
from client.wire.schemas import Shortfall
from client.words import counted
from settings import Settings

from .formats import open_reader
from .index import Answered, Index
from .items import Invalid, Item, ItemReader
from .options import STDIN, InputError, RunOptions
from .output import Extent, scan
from .records import shortfall_in
from .sidecar import Sidecar
from .source import open_source

MAX_REMEMBERED = 1_000  # distinct models whose provider need not be looked up again

OnInvalid = Callable[[Invalid], None]


@dataclass
class Report:
    """What the lines of the input are, before anything is sent."""

    total: int = 0
    invalid: int = 0
    finished_before: int = 0  # answered by an earlier run
    failed_before: int = 0  # failed in an earlier run, and not to be tried again
    pending: int = 0  # to be sent now
    short: Counter[Shortfall] = field(
        default_factory=Counter
    )  # of those answered, the answers that lack something


class ProviderCheck:
    """For a private worker: with a fleet, the providers and their keys are the fleet's."""

    def __init__(self, settings: Settings, *, keys_needed: bool = True) -> None:
        self._providers = settings.all_providers()
        self._home = settings.default_model.partition("/")[0]
        self._keys_needed = keys_needed
        self._good: set[str] = set()

    def fault(self, model: str) -> str | None:
        """Why lines of this model cannot be sent, or None. Raises InputError where a key is missing."""
        if model in self._good:
            return None
        name, slash, rest = model.partition("/")
        name = (name if slash else self._home).lower()
        provider = self._providers.get(name)
        if provider is None or (slash and not rest):
            known = ", ".join(sorted(self._providers))
            return f"no provider is called {name!r} (model {model!r}); known are {known}."
        if self._keys_needed and not provider.is_usable:
            raise InputError(
                f"{model} needs a key: set {provider.key_variable}, or try it without one with --simulate."
            )
        if len(self._good) < MAX_REMEMBERED:
            self._good.add(model)
        return None


@dataclass(frozen=True)
class Plan:
    """A run that can start: `run` takes it. The lock on the output is held while it is open."""

    options: RunOptions
    settings: Settings
    items: ItemReader
    index: Index
    sidecar: Sidecar
    output_extent: Extent
    errors_extent: Extent
    providers: ProviderCheck | None
    report: Report

    def fault(self, item: Item) -> str | None:
        """Why the item's provider cannot be asked, or None."""
        model = item.body.get("model")
        return self.providers.fault(model) if self.providers and model else None

    def is_finished(self, item: Item) -> bool:
        """Whether an earlier run has answered it, or failed at it and it is not to be tried again."""
        answer = self.index.answer(item.custom_id, item.hash)
        if answer is not None:
            return not (self.options.retry_empty and answer.shortfall)
        return not self.options.retry_errors and self._has_failed(item)

    def _has_failed(self, item: Item) -> bool:
        return self.index.failed_round(item.custom_id, item.hash) is not None


def _namespace(options: RunOptions, settings: Settings) -> str:
    """That of REDIS_URL, where the run goes there: with a simulated provider it does not."""
    url = settings.redis_url if options.keys_needed else None
    return server_address(url.get_secret_value()).namespace if url else ""


@contextmanager
def open_plan(
    options: RunOptions, settings: Settings, *, on_invalid: OnInvalid | None = None
) -> Iterator[Plan]:
    """Checks every line of the input; `on_invalid` is told of each bad one as it is found.

    Raises InputError, with nothing sent and no file changed, where the run cannot start: the input
    cannot be read, has a bad line (unless `skip_invalid`), or the output cannot be used.
    """
    with ExitStack() as opened:
        source = opened.enter_context(open_source(options.input))
        _check_paths(options)
        index = opened.enter_context(closing(Index()))
        items = ItemReader(open_reader(source, options.format, options.template), options.defaults, index)
        sidecar = opened.enter_context(
            closing(Sidecar.open(options.sidecar_path, source.name, _namespace(options, settings)))
        )
        providers = (
            ProviderCheck(settings, keys_needed=options.keys_needed) if options.check_providers else None
        )
        try:
            output_extent = scan(options.output, lambda *found: _mark_done(index, *found))
            errors_extent = scan(options.errors_path, lambda *found: _mark_failed(index, *found))
            extents = (output_extent, errors_extent)
            plan = Plan(options, settings, items, index, sidecar, *extents, providers, Report())
            _count(plan, on_invalid or (lambda _: None))
            yield plan
        finally:
            if sidecar.is_unused:
                sidecar.remove()


def _count(plan: Plan, on_invalid: OnInvalid) -> None:
    report = plan.report
    for each in plan.items.items():
        fault = plan.fault(each) if isinstance(each, Item) else None
        item = Invalid(each.line, fault) if fault else each
        if isinstance(item, Item):
            report.total += 1
            _count_valid(plan, item)
        else:
            report.total += item.lines
            report.invalid += item.lines
            on_invalid(item)
    if report.total == 0:
        raise InputError(f"{plan.options.input} has no line to send.")
    if report.invalid and not plan.options.skip_invalid:
        raise InputError(
            f"{report.invalid:,} of {counted(report.total, 'line')} cannot be sent, so nothing was: "
            "put them right, or leave them out with --skip-invalid."
        )


def _count_valid(plan: Plan, item: Item) -> None:
    answer = plan.index.answer(item.custom_id, item.hash)
    if answer is not None and plan.is_finished(item):
        plan.report.finished_before += 1
        if answer.shortfall:
            plan.report.short[answer.shortfall] += 1
    elif plan.is_finished(item):
        plan.report.failed_before += 1
    else:
        plan.report.pending += 1


def _check_paths(options: RunOptions) -> None:
    named = [("the output", options.output), ("the error file", options.errors_path)]
    if options.input != STDIN:
        named.insert(0, ("the input", Path(options.input)))
    for position, (role, path) in enumerate(named):
        for other_role, other in named[position + 1 :]:
            if _same(path, other):
                raise InputError(
                    f"{role.capitalize()} and {other_role} are the same file, {path}: name another."
                )
    for _, path in named[-2:]:
        _check_writable(path)


def _same(one: Path, other: Path) -> bool:
    if one.exists() and other.exists():
        return one.samefile(other)
    return one.resolve() == other.resolve()


def _check_writable(path: Path) -> None:
    if path.is_dir():
        raise InputError(f"{path} is a folder: name a file.")
    if not path.parent.is_dir():
        raise InputError(f"{path} cannot be written: there is no folder {path.parent}.")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise InputError(f"{path} cannot be written: permission denied.")


def _identity(record: dict[str, Any]) -> tuple[str, str]:
    return record["custom_id"], record["hash"]


def _mark_done(index: Index, record: dict[str, Any], offset: int) -> None:
    index.mark_done(*_identity(record), Answered(_round(record), offset, shortfall_in(record)))


def _round(record: dict[str, Any]) -> int:
    retry_round = record.get("round")
    return retry_round if isinstance(retry_round, int) else 0


def _mark_failed(index: Index, record: dict[str, Any], offset: int) -> None:
    index.mark_failed(*_identity(record), _round(record), offset)
