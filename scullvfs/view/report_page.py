"""The page of a report: the template of its HTML, and its style, on a screen and on paper."""

from __future__ import annotations

from typing import Final

__all__ = ["STYLE", "TEMPLATE"]

STYLE: Final = """\
:root { --ink: #1f2430; --paper: #ffffff; --quiet: #5c6370; --line: #d0d4dc; --well: #f6f7f9; }
@media screen and (prefers-color-scheme: dark) {
  :root { --ink: #e3e6ec; --paper: #14171c; --quiet: #9aa3b2; --line: #39404c; --well: #1c2027; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1260px; padding: 1.5rem; color: var(--ink);
  background: var(--paper); font: 15px/1.5 system-ui, "Segoe UI", "Noto Sans", sans-serif; }
h1 { font-size: 1.7rem; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.3rem; margin: 2.5rem 0 .75rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.5rem 0 .4rem; }
p { margin: .5rem 0; max-width: 75ch; }
.quiet, figcaption, .gap { color: var(--quiet); }
nav { margin: 1rem 0; }
nav a { margin-right: 1.2em; color: inherit; white-space: nowrap; }
code, pre, td.code, td.value { font-family: "DejaVu Sans Mono", Menlo, Consolas, "Liberation Mono",
  monospace; font-size: .9em; }
code { overflow-wrap: anywhere; }
pre { margin: 0; padding: .75rem; background: var(--well); border: 1px solid var(--line);
  overflow-x: auto; line-height: 1.35; }
pre.command { white-space: pre-wrap; overflow-wrap: anywhere; }
.gap { margin: .4rem 0; font-style: italic; }
table { border-collapse: collapse; }
th, td { padding: .15rem 1.5rem .15rem 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--line); }
td.code { white-space: nowrap; }
td.value { overflow-wrap: anywhere; }
th { font-weight: 600; white-space: nowrap; }
th.number, td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.wide { overflow-x: auto; }
figure { margin: 1rem 0; overflow-x: auto; }
figure svg { display: block; width: 100%; min-width: 720px; max-width: 1200px; height: auto; }
@media screen and (max-width: 960px) { figure { margin: 1rem -1.5rem; } }
@page { size: landscape; margin: 12mm; }
@media print {
  body { max-width: none; padding: 0; font-size: 10pt; }
  nav { display: none; }
  h2, h3 { break-after: avoid; }
  h2.page { break-before: page; margin-top: 0; }
  tr, figure, .command { break-inside: avoid; }
  figure { overflow: visible; }
  figure svg { width: auto; min-width: 0; max-width: 100%; max-height: 172mm; }
  pre { font-size: 7.5pt; padding: 0; border: 0; background: none; white-space: pre-wrap;
    overflow-wrap: anywhere; overflow: visible; orphans: 5; widows: 5; }
  pre.narrow { columns: 2; }
  .wide { overflow: visible; }
}
"""

TEMPLATE: Final = """\
{% macro text(excerpt, gap) %}
<h3><code>{{ excerpt.name }}</code></h3>
{% set kind = "narrow" if excerpt.head | map("length") | max < 80 else "broad" %}
<pre class="{{ kind }}">{{ excerpt.head | join("\\n") }}</pre>
{% if gap %}
<p class="gap">{{ gap }}</p>
<pre class="{{ kind }}">{{ excerpt.tail | join("\\n") }}</pre>
{% endif %}
{% endmacro %}
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{{ path }}, a scullvfs mount</title>
<style>
{{ style | safe }}
</style>
</head>
<body>
<header>
<h1>{{ path }}</h1>
<p class="quiet">A scullvfs mount of {{ user }}, as it was at {{ made }}</p>
<nav><a href="#options">Options</a> <a href="#devices">Devices</a> <a href="#memory">Memory</a>
<a href="#listings">Listings</a> <a href="#log">Kernel log</a> <a href="#trace">Trace</a>
<a href="#versions">Versions</a></nav>
</header>

<h2 id="options">Options</h2>
{% if options %}
<p>Such a mount is made by</p>
<pre class="command">{{ command }}</pre>
<h3>All of them, as they are now</h3>
<div class="wide"><table>
<thead><tr><th>option</th><th>value</th><th>default, if another</th><th>meaning</th></tr></thead>
{% for option in options %}
<tr><td class="code">{{ option.name }}</td>
<td class="value">{% if option.default %}<b>{{ option.value }}</b>{% else %}{{ option.value }}
{%- endif %}</td>
<td class="value">{{ option.default }}</td><td>{{ option.meaning }}</td></tr>
{% endfor %}
</table></div>
{% endif %}
<h3>In numbers</h3>
<div class="wide"><table>
{% for name, value in facts %}
<tr><th scope="row">{{ name }}</th><td>{{ value }}</td></tr>
{% endfor %}
</table></div>

<h2 id="devices" class="page">Devices</h2>
{% if report.rows %}
<div class="wide"><table>
<thead><tr><th>device</th><th class="number">bytes</th><th class="number">list items</th>
<th class="number">quanta</th><th class="number">bytes of a quantum</th>
<th class="number">quanta of an item</th></tr></thead>
{% for row in report.rows %}
<tr><td class="code">{{ row.name }}</td><td class="number">{{ "{:,}".format(row.size) }}</td>
<td class="number">{{ "{:,}".format(row.items) }}</td>
<td class="number">{{ "{:,}".format(row.quanta) }}</td>
<td class="number">{{ "{:,}".format(row.quantum) }}</td>
<td class="number">{{ "{:,}".format(row.qset) }}</td></tr>
{% endfor %}
</table></div>
{% endif %}
{% if report.unlisted %}
<p class="gap">{{ count_words(report.unlisted, "more device") }} with data, not listed here.</p>
{% endif %}
<p>{{ count_words(report.empty, "device") }} {{ "is" if report.empty == 1 else "are" }} empty.</p>
{% if calls %}
<h3>Calls</h3>
<div class="wide"><table>
<thead><tr><th>device</th><th>call</th><th class="number">how often</th>
<th class="number">bytes</th><th class="number">errors</th>
<th class="number">microseconds of one</th></tr></thead>
{% for call in calls %}
<tr><td class="code">{{ call.device }}</td><td class="code">{{ call.kind }}</td>
<td class="number">{{ call.calls }}</td><td class="number">{{ call.bytes }}</td>
<td class="number">{{ call.errors }}</td><td class="number">{{ call.time }}</td></tr>
{% endfor %}
</table></div>
<p class="quiet">Since the mount, of the {{ most_devices }} devices that were called most.</p>
{% endif %}
{% for name, svg in devices %}
<figure id="{{ name }}">
{{ svg | safe }}
</figure>
{% endfor %}
{% if undrawn %}
<p class="gap">{{ undrawn }}</p>
{% endif %}

<h2 id="memory" class="page">Memory</h2>
<figure>
{{ memory | safe }}
</figure>

<h2 id="listings" class="page">Listings</h2>
{% for excerpt, gap in listings %}
{{ text(excerpt, gap) }}
{% endfor %}

<h2 id="log" class="page">Kernel log</h2>
{{ text(*log) }}

<h2 id="trace">Trace</h2>
{{ text(*trace) }}

<h2 id="versions">Versions</h2>
<div class="wide"><table>
{% for name, version in versions %}
<tr><th scope="row">{{ name }}</th><td>{{ version }}</td></tr>
{% endfor %}
</table></div>
</body>
</html>
"""
