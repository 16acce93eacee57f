"""Style sheet of the preview page, for wide and narrow windows, light and dark."""

from __future__ import annotations

STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --paper: #fff; --soft: #5b6675; --line: #d5dbe3; --band: #eef3f9;
  --accent: #2563c9; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ee; --paper: #14181e; --soft: #9aa6b5; --line: #333c48;
  --band: #1e2630; --accent: #7fb0ff; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 1rem 1.25rem 4rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; margin: .5rem 0; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem; padding-top: 1rem; border-top: 2px solid var(--line); }
h2 small { font-weight: normal; color: var(--soft); }
p { max-width: 46rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 1rem; margin: 0 0 .75rem; }
dt { color: var(--soft); } dd { margin: 0; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .4rem .6rem; }
thead { position: absolute; clip-path: inset(50%); }
tbody { border: 1px solid var(--line); }
tbody th { background: var(--band); font-weight: 600; }
td:first-child { width: 16rem; font-variant-numeric: tabular-nums; }
audio { display: block; width: 100%; min-width: 12rem; height: 2.25rem; margin-top: .5rem; }
svg { display: block; width: 100%; height: auto; }
svg.ladder { max-width: 40rem; margin: 0 0 .75rem; }
svg.bar { max-width: 20rem; }
svg text { fill: var(--soft); font: 12px system-ui, sans-serif; }
svg .axis { stroke: var(--soft); fill: none; }
svg .wave { fill: var(--accent); }
svg .pair { fill: var(--band); stroke: var(--accent); }
svg circle { fill: var(--accent); }
svg image { image-rendering: auto; }
details { margin-top: .5rem; color: var(--soft); }
pre { overflow-x: auto; font-size: 12px; white-space: pre-wrap; }
@media (max-width: 44rem) {
  tr { display: block; } td, tbody th { display: block; width: auto !important; }
  svg.clip text { font-size: 18px; } svg.ladder text { font-size: 16px; }
}
"""
