"""How the page looks, in light and in dark, and the script that names the tensor under the pointer."""

STYLE = """
:root { color-scheme: light dark; --paper: #fbfaf8; --ink: #22262b; --soft: #6a7178; --line: #dedbd5;
  --card: #ffffff; --accent: #1f6f8b; --sample: #8d99a6; --activation: #9cc3d9; --kept: #2a7fa8;
  --mask: #d98e32; --error: #c2574d; --scores: #7a5ea8; --scratch: #b9b3a6; --numbers: #77806f; }
@media (prefers-color-scheme: dark) { :root { --paper: #15181c; --ink: #e6e8ea; --soft: #98a1aa;
  --line: #31363d; --card: #1c2026; --accent: #6db9d6; --sample: #66727f; --activation: #36596d;
  --kept: #4aa3cc; --mask: #dd9a48;
  --error: #cf6a60; --scores: #9a82c6; --scratch: #56524a; --numbers: #869080; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1200px; margin: 0 auto; padding: 36px 24px 64px; }
h1 { font-size: 27px; line-height: 1.2; margin: 0 0 6px; letter-spacing: -0.01em; }
h2 { font-size: 18px; margin: 42px 0 8px; }
p { margin: 0 0 12px; max-width: 75ch; color: var(--soft); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px;
  margin: 22px 0 0; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 12px 14px; }
.card b { display: block; font-size: 21px; font-weight: 600; font-variant-numeric: tabular-nums; }
.card span { color: var(--soft); font-size: 13px; }
.scroll { overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: 8px; }
svg { display: block; width: 100%; min-width: 760px; font: 11px system-ui, sans-serif; fill: var(--soft); }
svg.chart { min-width: 0; max-width: 560px; }
.tensor { stroke: var(--card); stroke-width: 0.7; }
.tensor:hover { stroke: var(--ink); stroke-width: 1.6; }
.thin { stroke: none; }
.parted { fill-opacity: 0.18; stroke-opacity: 0.4; }
.parts { pointer-events: none; }
.name { fill: var(--ink); pointer-events: none; }
.grid { stroke: var(--line); stroke-width: 1; fill: none; }
.bound { stroke: var(--ink); stroke-dasharray: 4 4; stroke-width: 1; fill: none; }
.live { fill: var(--accent); fill-opacity: 0.3; stroke: var(--accent); stroke-width: 1.2; }
.curve { fill: none; stroke: var(--accent); stroke-width: 2; }
.dot { fill: var(--accent); }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 10px 0; font-size: 13px;
  color: var(--soft); }
.legend i { display: inline-block; width: 11px; height: 11px; border-radius: 2px; margin-right: 6px; }
#about { min-height: 22px; font-size: 13px; margin: 8px 2px 0; color: var(--ink); font-variant-numeric:
tabular-nums; } table { border-collapse: collapse; width: 100%; font-size: 13.5px; font-variant-numeric:
tabular-nums; } th { text-align: left; font-weight: 500; color: var(--soft); white-space: nowrap; }
th, td { padding: 5px 12px; border-bottom: 1px solid var(--line); }
tr:last-child td { border-bottom: 0; }
td.n, th.n { text-align: right; white-space: nowrap; }
td.still { color: var(--soft); }
.bar { display: block; height: 4px; border-radius: 2px; background: var(--accent); margin: 2px 0 0 auto; }
.charts { display: flex; flex-wrap: wrap; gap: 16px; }
.charts figure { margin: 0; flex: 1 1 360px; }
figcaption { color: var(--soft); font-size: 13px; margin: 0 0 6px; }
footer { margin-top: 48px; color: var(--soft); font-size: 13px; }
"""

SCRIPT = """
const about = document.getElementById("about"), still = about.textContent;
document.querySelectorAll(".tensor").forEach(r => {
  r.addEventListener("pointerenter", () => { about.textContent = r.firstElementChild.textContent; });
  r.addEventListener("pointerleave", () => { about.textContent = still; });
});
"""
