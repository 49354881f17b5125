"""The report of a run as one HTML file: figures, plots as SVG inside it, no script, nothing fetched.

It is made of a run's JSON alone, so that it can be made again of a kept result.
"""

import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

import pygal
from pygal.style import Style

PARTIES: Final = ("switch", "database", "generator")
LATENCIES: Final = {"median": "p50_ms", "99 %": "p99_ms", "longest": "max_ms"}
FIGURES: Final = {
    "authorizations_per_s": "authorizations a second",
    "p50_ms": "median, ms",
    "p99_ms": "99 %, ms",
    "max_ms": "longest, ms",
    "batch_mean": "requests in a batch",
    "recorded": "recorded",
    "refused": "refused (91, 96)",
    "resolved": "resolved by repeat",
}
STORM: Final = {
    "modules": "modules that signed on",
    "live": "live in the end",
    "took_s": "until the last was live, s",
    "cpu_needed_s": "CPU that their sign-ons need, s",
    "p99_before_ms": "99 % of the others before, ms",
    "p99_during_ms": "99 % of the others meanwhile, ms",
    "normal_after_s": "until that was normal again, s",
}
_STYLE: Final = Style(
    background="transparent",
    plot_background="transparent",
    colors=("#0b6e99", "#d9730d", "#6b7280", "#0f7b6c"),
    font_family="sans-serif",
    label_font_size=13,
    major_label_font_size=13,
    legend_font_size=14,
    title_font_size=18,
)
_FORM: Final[dict[str, Any]] = {
    "style": _STYLE,
    "js": [],
    "width": 900,
    "height": 360,
    "disable_xml_declaration": True,
    "legend_at_bottom": True,
    "legend_at_bottom_columns": 3,
    "truncate_legend": -1,
    "truncate_label": -1,
    "stroke_style": {"width": 2.5},
}
_SCRIPT: Final = re.compile("<script.*?</script>", re.DOTALL)
_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 15px/1.5 sans-serif; max-width: 940px; margin: 2em auto; padding: 0 1em; color: #1f2937 }}
table {{ border-collapse: collapse }} td {{ padding: .15em 1.5em .15em 0; border-bottom: 1px solid #e5e7eb }}
td + td {{ text-align: right; font-variant-numeric: tabular-nums }}
.failed {{ color: #b91c1c }} figure {{ margin: 1.5em 0 }}
</style></head><body><h1>{title}</h1>
<p>{load}</p>
<p class="{verdict_class}">{verdict}</p>{findings}
<table>{figures}</table>
{storm}
{plots}
<h2>Settings</h2><table>{settings}</table>
</body></html>
"""


def html(result: Mapping[str, Any]) -> str:
    """The report of a run, from its result as JSON has it."""
    plots = [_throughput(result), _latency(result), _percentiles(result), _cpu(result), _batches(result)]
    return _PAGE.format(
        title=escape(f"Load test: {result['profile']}, {result['load']} load, {result['duration_s']:g} s"),
        verdict_class="held" if result["verified"] else "failed",
        verdict="Every answer is true." if result["verified"] else "Not every answer is true.",
        findings="".join(f"<p class='failed'>{escape(finding)}</p>" for finding in result["findings"]),
        load=escape(_load(result)),
        figures=_rows({title: result[name] for name, title in FIGURES.items()} | _cpu_figures(result)),
        storm=_storm(result["storm"]),
        plots="".join(f"<figure>{_drawn(plot)}</figure>" for plot in plots),
        settings=_rows(result["settings"] or {"all": "as `authsrv serve` has them"}),
    )


def _drawn(plot: Any) -> str:
    """The plot as SVG, without the script that pygal puts in for its tooltips."""
    svg: str = plot.render(is_unicode=True)
    return _SCRIPT.sub("", svg)


def _rows(values: Mapping[str, Any]) -> str:
    return "".join(
        f"<tr><td>{escape(str(name))}</td><td>{escape(str(value))}</td></tr>" for name, value in values.items()
    )


def _load(result: Mapping[str, Any]) -> str:
    """Who asked how, of which build, in a sentence."""
    asked = f"{result['modules']} modules over {result['connections']} connections"
    pace = f"{result['asked_per_s']:g} requests a second at most" if result["asked_per_s"] else "each as it is answered"
    build = "compiled" if result["compiled"] else "run from its source"
    where = f"{result['cores']} cores shared with the database and the generator"
    return f"{asked}, {pace}. authsrv {result['version']}, {build}, on {where}. Ended {result['ended_at']}."


def _storm(storm: Mapping[str, Any] | None) -> str:
    if storm is None:
        return ""
    return f"<h2>Storm</h2><table>{_rows({title: storm[name] for name, title in STORM.items()})}</table>"


def _cpu_figures(result: Mapping[str, Any]) -> dict[str, Any]:
    return {f"CPU of the {who}, us each": used for who, used in result["cpu_us"].items()}


def _seconds(course: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    every = max(1, len(course) // 10)
    labels = [f"{point['at_s']:.0f} s" for point in course]
    return {"x_labels": labels, "x_labels_major": labels[::every], "show_minor_x_labels": False}


def _decades(values: Sequence[float | None]) -> dict[str, Any]:
    """A logarithmic axis with a line at 1, 2 and 5 of each power of ten around the values."""
    seen = [value for value in values if value] or [1.0]
    marks = [digit * 10.0**power for power in range(-3, 7) for digit in (1, 2, 5)]
    low = max((mark for mark in marks if mark <= min(seen)), default=marks[0])
    high = min((mark for mark in marks if mark >= max(seen)), default=marks[-1])
    return {
        "logarithmic": True,
        "y_labels": [mark for mark in marks if low <= mark <= high],
        "range": (low, high),
        "value_formatter": lambda value: f"{value:g}",
    }


def _throughput(result: Mapping[str, Any]) -> Any:
    course = result["course"]
    plot = pygal.Line(title="Answers a second", **_seconds(course), **_FORM | {"show_legend": False})
    plot.add("answers", [point["answers_per_s"] for point in course], show_dots=False)
    plot.range = (0, max((point["answers_per_s"] for point in course), default=0) or 1)
    return plot


def _latency(result: Mapping[str, Any]) -> Any:
    course = result["course"]
    values = [point[name] for point in course for name in LATENCIES.values()]
    plot = pygal.Line(title="Latency over time, ms (logarithmic)", **_decades(values), **_seconds(course), **_FORM)
    for title, name in LATENCIES.items():
        plot.add(title, [point[name] or None for point in course], show_dots=False)
    return plot


def _percentiles(result: Mapping[str, Any]) -> Any:
    points = result["percentiles"]
    labels = [f"{point['percentile']:g} %" for point in points]
    axis = _decades([point["ms"] for point in points])
    title = "Latency by percentile, ms (logarithmic)"
    plot = pygal.Line(title=title, x_labels=labels, **axis, **_FORM | {"show_legend": False})
    plot.add("ms", [point["ms"] or None for point in points])
    return plot


def _cpu(result: Mapping[str, Any]) -> Any:
    course = result["cpu_course"]
    plot = pygal.StackedLine(title="Cores busy, one party on top of the other", fill=True, **_seconds(course), **_FORM)
    for who in PARTIES:
        plot.add(who, [round(point[who], 3) for point in course], show_dots=False)
    # A stack is read from the ground up: without a range the axis begins at the least of what is stacked.
    plot.range = (0, max((sum(point[who] for who in PARTIES) for point in course), default=0) or 1)
    return plot


def _batches(result: Mapping[str, Any]) -> Any:
    batches = result["batches"]
    labels = ["more" if batch["at_most"] is None else f"to {batch['at_most']:g}" for batch in batches]
    plot = pygal.Bar(title="How many batches had so many requests", x_labels=labels, **_FORM | {"show_legend": False})
    plot.add("batches", [batch["batches"] for batch in batches])
    return plot
