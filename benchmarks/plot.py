"""`python -m benchmarks.plot RESULTS OUTPUT`: bar charts of saved results (`python -m benchmarks --save RESULTS`).

OUTPUT is a directory; each benchmark with a figure worth a bar becomes OUTPUT/NAME.svg.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

# benchmark → the figure of its bars, what the axis says, which cases (by the end of their name)
_BARS = {
    "throughput": ("jobs_per_s", "no-op jobs per second, one worker", ""),
    "latency": ("result_p50_ms", "ms from the call to the result, median, idle worker", ", 0 in flight"),
    "idle": ("worker_cpu_percent", "% of a core, jobs in flight and nothing else to do", ""),
    "enqueue": ("jobs_per_s", "requests of 1 KB enqueued per second, in bulk", ", bulk"),
    "concurrency": ("wall_s", "seconds for 3,000 jobs of 1 s, 1,000 at once (ideal: 3)", ""),
    "llm": ("calls_per_s", "LLM calls of 5 s answered per second, one worker process", ", unharmed"),
    "memory": ("redis_bytes_per_job", "bytes in Redis per queued job beyond its payload", ", queued"),
}
_OURS, _THEIRS = "#d9480f", "#adb5bd"
_BAR_INCHES = 0.32


@click.command()
@click.argument("results", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("output", type=click.Path(file_okay=False, path_type=Path))
@click.option("--format", "kind", type=click.Choice(["svg", "png"]), default="svg", show_default=True)
def main(results: Path, output: Path, kind: str) -> None:
    """Draws the benchmarks saved in RESULTS into OUTPUT."""
    output.mkdir(parents=True, exist_ok=True)
    for name, (figure, axis, ending) in _BARS.items():
        source = results / f"{name}.json"
        bars = _bars(json.loads(source.read_text()), figure, ending) if source.exists() else []
        if bars:
            _draw(bars, axis, output / f"{name}.{kind}")
            click.echo(output / f"{name}.{kind}")


def _bars(document: dict[str, Any], figure: str, ending: str) -> list[tuple[str, float]]:
    """Label and length of each bar, as the benchmark lists them; systems that could not run have none."""
    return [
        (case["case"].removesuffix(ending), case["figures"][figure])
        for case in document["cases"]
        if case["case"].endswith(ending) and case["figures"].get(figure) is not None
    ]


def _draw(bars: list[tuple[str, float]], axis: str, path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    labels, lengths = zip(*reversed(bars), strict=True)
    colours = [_OURS if label.startswith("promptmill") else _THEIRS for label in labels]
    figure, axes = pyplot.subplots(figsize=(8, 0.9 + _BAR_INCHES * len(bars)), facecolor="white")
    drawn = axes.barh(labels, lengths, color=colours, height=0.7)
    axes.bar_label(
        drawn, [f"{length:,.4g}" if length < 1000 else f"{length:,.0f}" for length in lengths], padding=4
    )
    axes.set_xlabel(axis)
    axes.margins(x=0.12)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(left=False)
    figure.tight_layout()
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.plot")
