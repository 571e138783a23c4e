"""The style sheet of the demo's page, for desks, phones, light and dark."""

from ..evaluation.page.canvas import color_rules

STYLE = (
    color_rules()
    + """
* { box-sizing: border-box; }
[hidden] { display: none !important; }
body { margin: 0; color: var(--ink); background: var(--paper);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
header { display: flex; flex-wrap: wrap; align-items: center; gap: .25rem 1rem;
  padding: .8rem 1.25rem; border-bottom: 1px solid var(--line); }
h1 { margin: 0; font-size: 1.25rem; }
header p { margin: 0; flex: 1 1 12rem; overflow-wrap: anywhere; }
.soft { color: var(--soft); }
main { display: grid; grid-template-columns: minmax(0, 1fr) 24rem; gap: 1.25rem;
  padding: 1.25rem; max-width: 1600px; margin: 0 auto; align-items: start; }
:focus-visible, .unseen:focus-visible + main { outline: 2px solid var(--mark);
  outline-offset: 2px; }
.unseen { position: absolute; width: 1px; height: 1px; opacity: 0;
  pointer-events: none; }
header:has(.unseen:focus-visible) .main { outline: 2px solid var(--mark);
  outline-offset: 2px; }
.button { font: inherit; color: inherit; padding: .35rem .8rem; cursor: pointer;
  border: 1px solid var(--line); border-radius: 7px; background: var(--panel); }
.button:hover:not(:disabled) { border-color: var(--bar); }
.button:disabled { opacity: .5; cursor: default; }
.button.main { color: var(--paper); background: var(--bar); border-color: var(--bar);
  font-weight: 600; }
#stage { min-width: 0; }
#drop { display: flex; flex-direction: column; align-items: center; cursor: pointer;
  justify-content: center; gap: .3rem; padding: 1.5rem;
  min-height: calc(100vh - 9.5rem); text-align: center;
  border: 2px dashed var(--line); border-radius: 14px; background: var(--panel); }
#drop b { font-size: 1.15rem; }
#drop svg { width: 3.5rem; fill: none; stroke: var(--bar); stroke-width: 2.5;
  stroke-linecap: round; stroke-linejoin: round; margin-bottom: .5rem; }
#drop:hover, .over #drop { border-color: var(--bar); }
.over #drop { background: color-mix(in srgb, var(--bar) 12%, var(--paper)); }
.over #view { outline: 3px dashed var(--bar); outline-offset: 4px; }
#view { position: relative; margin: 0 auto; border-radius: 6px; overflow: clip;
  width: min(100%, var(--wide), (100vh - 9.5rem) * var(--ratio)); }
#picture { display: block; width: 100%; height: auto; aspect-ratio: var(--ratio); }
#view.busy #picture { opacity: .55; }
#boxes { position: absolute; inset: 0; }
.box { position: absolute; border: 2px solid var(--c); border-radius: 2px;
  box-shadow: 0 0 0 1px #0006, inset 0 0 0 1px #0006; }
.box span { position: absolute; left: -2px; bottom: 100%; padding: 0 .35em;
  white-space: nowrap; font-size: .78rem; line-height: 1.35; font-weight: 600;
  color: var(--on); background: var(--c); border-radius: 3px 3px 0 0; }
.box.low span { bottom: auto; top: 0; left: 0; border-radius: 0 0 3px 0; }
.box.left span { left: auto; right: -2px; }
.box.dim { opacity: .25; }
.box.lit { z-index: 2; border-width: 3px;
  background: color-mix(in srgb, var(--c) 22%, transparent); }
#status { min-height: 1.5em; margin: .6rem 0 0; text-align: center; }
#problem { margin: 0 0 1rem; padding: .6rem .9rem; overflow-wrap: anywhere;
  border-left: 4px solid var(--bad); border-radius: 4px; background: var(--panel); }
aside { display: grid; gap: 1rem; min-width: 0; }
.panel { padding: .9rem 1rem; border: 1px solid var(--line); border-radius: 10px;
  background: var(--panel); min-width: 0; }
.row { display: flex; justify-content: space-between; gap: 1rem; }
output { font-variant-numeric: tabular-nums; font-weight: 600; }
input[type=range] { width: 100%; margin: .4rem 0 0; accent-color: var(--bar); }
#classes { display: flex; flex-wrap: wrap; gap: .35rem; max-height: 9rem;
  overflow: auto; }
#classes:not(:empty) { margin-top: .7rem; }
.chip { display: inline-flex; align-items: center; gap: .4em; font: inherit;
  font-size: .85rem; color: inherit; padding: .1rem .6rem; cursor: pointer;
  border: 1px solid var(--line); border-radius: 99px; background: var(--paper); }
.chip i, td i { display: inline-block; width: .75em; height: .75em; flex: none;
  border-radius: 3px; background: var(--c); }
.chip[aria-pressed=false] { opacity: .5; text-decoration: line-through; }
.scroll { overflow: auto; max-height: 40vh; margin-top: .4rem; }
table { border-collapse: collapse; width: 100%; font-size: .86rem;
  font-variant-numeric: tabular-nums; }
th { position: sticky; top: 0; background: var(--panel); color: var(--soft);
  font-weight: 600; }
th, td { text-align: left; padding: .22rem .4rem; white-space: nowrap;
  border-bottom: 1px solid var(--line); }
td:first-child { max-width: 9rem; overflow: hidden; text-overflow: ellipsis; }
.n { text-align: right; }
tbody tr.lit { background: color-mix(in srgb, var(--bar) 18%, var(--panel)); }
.buttons { display: flex; flex-wrap: wrap; gap: .5rem; margin: .9rem 0 .6rem; }
.buttons .button { font-size: .88rem; flex: 1 1 auto; padding: .3rem .5rem; }
summary { cursor: pointer; }
pre { margin: .5rem 0 0; padding: .6rem; max-height: 22rem; overflow: auto;
  font-size: .78rem; line-height: 1.4; border-radius: 6px; background: var(--paper);
  border: 1px solid var(--line); }
@media (max-width: 900px) {
  main { grid-template-columns: minmax(0, 1fr); padding: .8rem; }
  header { padding: .7rem .8rem; }
  #drop { min-height: 40vh; }
}
"""
)
