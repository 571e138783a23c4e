"""The style sheet of the page: one for desks, phones, light and dark."""

from .canvas import color_rules

STYLE = (
    color_rules()
    + """
* { box-sizing: border-box; }
html { scroll-padding-top: 4rem; }
body { margin: 0; color: var(--ink); background: var(--paper);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
header, main { max-width: 1240px; margin: 0 auto; padding: 0 1.25rem; }
header { padding-top: 1.5rem; }
h1 { margin: 0; font-size: 1.6rem; line-height: 1.25; overflow-wrap: anywhere; }
h2 { margin: 0 0 .75rem; font-size: 1.2rem; }
h3 { margin: 1.75rem 0 .5rem; font-size: 1rem; }
p { margin: .4rem 0; }
section { padding: 1.75rem 0; border-bottom: 1px solid var(--line); }
section:last-child { border: 0; }
.soft, figcaption, small { color: var(--soft); }
.good { color: var(--good); }
.bad { color: var(--bad); }
.warn { padding: .6rem .8rem; border-left: 4px solid var(--mark);
  background: var(--panel); }
.bar { position: sticky; top: 0; z-index: 3; background: var(--paper);
  border-bottom: 1px solid var(--line); margin-top: .75rem; }
.bar > div { max-width: 1240px; margin: 0 auto; padding: .5rem 1.25rem; display: flex;
  gap: .4rem 1rem; align-items: center; flex-wrap: wrap; }
nav { display: flex; gap: 1rem; overflow-x: auto; flex: 1 1 auto; }
a { color: var(--bar); text-decoration: none; white-space: nowrap; }
a:hover { text-decoration: underline; }
:focus-visible { outline: 2px solid var(--mark); outline-offset: 2px; }
button, select { font: inherit; color: inherit; }
select, .plain { padding: .25rem .5rem; border: 1px solid var(--line);
  border-radius: 6px; background: var(--panel); max-width: 12rem; cursor: pointer; }
.grid { display: grid; gap: 1.25rem 2rem; margin-bottom: 1.25rem; align-items: start;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 340px), 1fr)); }
.grid > * { min-width: 0; }
.narrow { max-width: 600px; margin-bottom: 1.25rem; }
.tiles { display: grid; gap: .75rem; margin: 0 0 1.25rem;
  grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); }
.tiles > div { padding: .6rem .8rem; background: var(--panel); border-radius: 8px;
  border: 1px solid var(--line); }
.tiles dt { color: var(--soft); font-size: .82rem; }
.tiles dd { margin: 0; font-size: 1.35rem; font-weight: 600;
  font-variant-numeric: tabular-nums; }
.tiles small { font-size: .78rem; }
.terms { margin: 0; font-size: .9rem; }
.terms > div { padding: .35rem 0; border-bottom: 1px solid var(--line); }
.terms > div:last-child { border: 0; }
.terms dt { font-weight: 600; }
.terms dd { margin: 0; color: var(--soft); }
figure { margin: 0; }
figcaption { font-size: .85rem; margin-top: .25rem; }
svg { display: block; width: 100%; height: auto;
  font-family: system-ui, -apple-system, "Segoe UI", sans-serif; }
figure > svg { max-width: 620px; }
figure.wide svg { max-width: var(--w); min-width: min(var(--w), 520px); }
.scroll { overflow: auto; max-height: 46rem; border: 1px solid var(--line);
  border-radius: 8px; }
figure.wide .scroll { border: 0; max-height: none; padding-bottom: .25rem; }
table { border-collapse: collapse; width: 100%; font-size: .88rem;
  font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; text-align: left; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
tbody tr:last-child td { border-bottom: 0; }
tfoot td { border-top: 1px solid var(--line); border-bottom: 0; font-weight: 600; }
td.n { text-align: right; }
td:first-child, th:first-child { position: sticky; left: 0; }
td:first-child { background: var(--paper); overflow-wrap: anywhere; min-width: 7rem; }
th:first-child { z-index: 2; }
th { position: sticky; top: 0; padding: 0; background: var(--panel); z-index: 1; }
th button { display: block; width: 100%; padding: .35rem .7rem; border: 0;
  background: none; font-weight: 600; text-align: inherit; cursor: pointer;
  white-space: nowrap; }
th.n button { text-align: right; }
th button:focus-visible { outline-offset: -2px; }
th button::after { content: "\\2195"; opacity: .3; margin-left: .3em; }
th[aria-sort] button::after { opacity: 1; }
th[aria-sort=ascending] button::after { content: "\\2191"; }
th[aria-sort=descending] button::after { content: "\\2193"; }
tbody tr:hover td { background: var(--panel); }
tbody tr.on td { background: color-mix(in srgb, var(--bar) 20%, var(--paper)); }
.minis { display: grid; gap: .6rem; max-height: 38rem; overflow-y: auto;
  grid-template-columns: repeat(auto-fill, minmax(135px, 1fr)); }
.mini { display: grid; grid-template-columns: 1fr auto; gap: .15rem .4rem;
  padding: .45rem .6rem; text-align: left; font-size: .82rem; background: none;
  border: 1px solid var(--line); border-radius: 8px; }
button.mini { cursor: pointer; }
button.mini:hover, .mini.on { background: var(--panel); border-color: var(--bar); }
.mini span { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.mini svg { grid-column: 1 / -1; }
.tools { display: flex; flex-wrap: wrap; gap: .5rem 1.25rem; align-items: center;
  margin-bottom: .75rem; font-size: .88rem; }
.key { display: inline-flex; align-items: center; gap: .35rem; color: var(--soft); }
.key i { width: 1.1rem; height: .8rem; border-width: 2px; border-style: solid;
  border-radius: 2px; }
.cards { display: grid; gap: .9rem; align-items: start;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 210px), 1fr)); }
.cards.pairs {
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 400px), 1fr)); }
.card { padding: 0; border: 1px solid var(--line); border-radius: 8px; cursor: pointer;
  overflow: hidden; background: var(--panel); text-align: left; }
.card:hover { border-color: var(--bar); }
.note { display: block; padding: .4rem .6rem; font-size: .8rem; line-height: 1.4;
  overflow-wrap: anywhere; }
.card[hidden] { display: none; }
.views { display: grid; grid-auto-flow: column; grid-auto-columns: 1fr; gap: 2px; }
.view { position: relative; display: block; overflow: hidden; background: #0008; }
.card .view { aspect-ratio: 4 / 3; display: grid; place-items: center; }
.view img { display: block; width: 100%; height: 100%; object-fit: contain; }
.view svg { position: absolute; inset: 0; width: 100%; height: 100%; }
.view em { position: absolute; left: 0; top: 0; padding: 0 .4rem; font-size: .75rem;
  font-style: normal; color: #fff; background: #000a; }
.view rect { fill: transparent; stroke-width: 1.5; vector-effect: non-scaling-stroke; }
.view .main { stroke-width: 3; }
.view .lit { stroke-width: 5; fill: #ffffff40; }
.card .other { opacity: .75; }
.truth { stroke: #22c55e; border-color: #22c55e; }
.true { stroke: #38bdf8; border-color: #38bdf8; }
.false { stroke: #ef4444; border-color: #ef4444; }
.missed { stroke: #f59e0b; border-color: #f59e0b; }
.ignored { stroke: #a3a3a3; border-color: #a3a3a3; }
rect.truth, rect.missed, rect.ignored { stroke-dasharray: 6 3; }
.key .truth, .key .missed, .key .ignored { border-style: dashed; }
dialog { width: min(1100px, 96vw); max-height: 96vh; padding: 1rem; color: inherit;
  background: var(--paper); border: 1px solid var(--line); border-radius: 10px; }
dialog::backdrop { background: #000b; }
.head { display: flex; gap: .5rem; align-items: center; margin-bottom: .6rem; }
.head b { flex: 1; overflow-wrap: anywhere; }
.large { display: grid; gap: 1rem;
  grid-template-columns: minmax(0, 2fr) minmax(0, 1fr); }
.large .view { background: none; }
.large .view img { height: auto; max-height: calc(96vh - 6rem); }
.large ul { margin: 0; padding: 0; list-style: none; font-size: .85rem;
  max-height: 60vh; overflow: auto; }
.large.two { grid-template-columns: 1fr 1fr; }
.large.two .views { grid-column: 1 / -1; }
.large.two ul { max-height: 14rem; }
.large li { padding: .2rem .4rem .2rem .6rem; border-width: 0 0 0 4px;
  border-style: solid; margin: 2px 0; overflow-wrap: anywhere; }
.large li:hover { background: var(--panel); }
.large li.main { font-weight: 600; }
@media (max-width: 640px) {
  html { scroll-padding-top: 6rem; }
  header, main, .bar > div { padding-left: .8rem; padding-right: .8rem; }
  h1 { font-size: 1.3rem; }
  nav { flex-basis: 100%; }
  .tiles { grid-template-columns: 1fr 1fr; }
  .cards { grid-template-columns: 1fr 1fr; gap: .5rem; }
  .cards.pairs {
  grid-template-columns: 1fr; }
  .minis { grid-template-columns: repeat(auto-fill, minmax(100px, 1fr)); }
  .large, .large.two { grid-template-columns: 1fr; }
  .large ul { max-height: none; }
  .large .views { grid-auto-flow: row; }
  dialog { padding: .6rem; width: 100vw; max-width: 100vw; }
}
@media print { .bar, .tools { display: none; } .scroll { max-height: none; } }
"""
)
