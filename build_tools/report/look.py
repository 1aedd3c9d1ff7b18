"""How a report looks: colours for light and dark, a layout that fits a phone, and the sorting of its tables."""

STYLE = """
:root{--paper:#fcfcfa;--card:#fff;--ink:#1c1e21;--soft:#5d646d;--line:#e2e3e0;--keep:#2463ab;--saved:#cfdded;
--gain:#1a7f4b;--loss:#b3470f;--bad:#b3470f;--floor:#8fb339;--other:#8a6fb0;--rest:#9aa3ad;--hatch:#b3470f;--focus:#2463ab}
@media (prefers-color-scheme:dark){:root{--paper:#14171a;--card:#1c2024;--ink:#e7e9eb;--soft:#9ba3ac;--line:#31373d;
--keep:#5b9be0;--saved:#2a3d52;--gain:#5cc28d;--loss:#f0925a;--bad:#f0925a;--floor:#a6c95a;--other:#ad94d1;
--rest:#76808a;--hatch:#f0925a;--focus:#8fc0f5}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,
"DejaVu Sans",sans-serif}
main{max-width:1140px;margin:0 auto;padding:28px 24px 64px}
header p,.note{color:var(--soft)}
h1{font-size:1.35rem;margin:0;overflow-wrap:anywhere}
h2{font-size:1.12rem;margin:44px 0 4px}
h3{font-size:.95rem;margin:0 0 6px}
p{margin:4px 0 14px;max-width:72ch}
a{color:var(--keep)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(215px,1fr));gap:14px;margin:22px 0 8px}
.tile{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:14px 16px}
.tile .label{color:var(--soft);font-size:.82rem}
.tile .value{font-size:1.65rem;line-height:1.3;font-weight:650;letter-spacing:-.01em}
.tile .detail{font-size:.88rem;font-variant-numeric:tabular-nums}
.tile .verdict{font-size:.82rem;color:var(--soft);margin-top:4px}
.good{color:var(--gain)}.bad{color:var(--bad)}
.card{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:16px 18px;margin:10px 0}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(300px,1fr));gap:14px}
table{border-collapse:collapse;width:100%;font-size:.88rem;font-variant-numeric:tabular-nums}
caption{text-align:left;color:var(--soft);padding:0 0 8px;font-size:.85rem}
th,td{padding:6px 10px;text-align:right;border-bottom:1px solid var(--line);vertical-align:top;white-space:nowrap}
th{font-weight:600;color:var(--soft)}
tbody th{color:var(--ink);font-weight:500}
th.text,td.text{text-align:left}
.scroll th,.scroll td{padding:6px 7px;font-size:.82rem}
small{color:var(--soft);font-weight:400}
td.wrap{white-space:normal;min-width:16rem}
td.name,th.name{overflow-wrap:anywhere;white-space:normal;min-width:10rem}
tr:last-child>*{border-bottom:0}
.scroll{overflow:auto;max-height:34rem;border:1px solid var(--line);border-radius:10px;background:var(--card)}
.scroll:focus-visible{outline:2px solid var(--focus)}
.scroll thead th{position:sticky;top:0;background:var(--card);box-shadow:0 1px var(--line);z-index:1}
th button{all:unset;cursor:pointer;font-weight:600}
th button:focus-visible{outline:2px solid var(--focus);outline-offset:2px}
th button::after{content:" \\2195";content:" \\2195"/"";opacity:.35}
th[aria-sort=ascending] button::after{content:" \\2191";content:" \\2191"/"";opacity:1}
th[aria-sort=descending] button::after{content:" \\2193";content:" \\2193"/"";opacity:1}
.falls td,.falls th{border:0;padding:5px 8px}
.falls .track{width:58%;padding-left:0}
.falls .reason td{text-align:left;white-space:normal;padding:0 8px 8px}
.track div{position:relative;height:20px}
.track i,.track b{position:absolute;top:0;height:20px;display:block;border-radius:3px;min-width:1px}
.now{background:var(--keep)}.input{background:var(--rest)}.saved{background:var(--saved)}
.grown{background:var(--loss);opacity:.75}
.undone{border:1.5px dashed var(--hatch);background:repeating-linear-gradient(135deg,var(--card) 0 5px,
var(--hatch) 5px 6px);opacity:.9}
.floor{background:var(--floor)}.other{background:var(--other)}.rest{background:var(--rest)}
.why{color:var(--bad);font-size:.84rem}
.key{display:flex;flex-wrap:wrap;gap:4px 18px;font-size:.84rem;color:var(--soft);margin:2px 0 10px}
.key span::before{content:"";display:inline-block;width:.85em;height:.85em;margin-right:.4em;border-radius:2px;
vertical-align:-.08em;background:var(--shade)}
.key .dashed::before{background:none;border:1.5px dashed var(--hatch)}
.pile{display:flex;height:26px;border-radius:5px;overflow:hidden;margin:4px 0 10px;gap:1px}
.pile i{display:block;height:100%;min-width:2px}
.layers td,.layers th{border:0;padding:2px 8px}
.layers .track{width:50%;padding-left:0}
.layers .track div{height:19px}
.layers .track b{height:11px}.layers .track i{top:12px;height:6px}
svg{display:block;width:100%;height:auto;max-width:520px}
svg text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;fill:var(--ink)}
svg .dim{fill:var(--soft)}
svg .grid{stroke:var(--line)}svg .whisker{stroke:var(--keep);stroke-width:2}
svg .dot{fill:var(--keep);stroke:var(--card);stroke-width:1.5}
svg .hollow{fill:var(--card);stroke:var(--hatch);stroke-width:1.8}
svg .dropped{stroke:var(--hatch)}
svg .limit{stroke:var(--bad);stroke-dasharray:4 3}svg .limit-text{fill:var(--bad)}
svg .front{stroke:var(--keep);fill:none;stroke-width:1.5}svg .behind{fill:var(--rest);opacity:.6}
details{margin:10px 0}
summary{cursor:pointer;font-weight:600;padding:4px 0}
summary:focus-visible{outline:2px solid var(--focus)}
pre{overflow:auto;background:var(--card);border:1px solid var(--line);border-radius:10px;padding:14px 16px;
font:13px/1.5 ui-monospace,"DejaVu Sans Mono",monospace}
dl{display:grid;grid-template-columns:max-content 1fr;gap:4px 18px;font-size:.9rem;margin:8px 0}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
footer{margin-top:48px;color:var(--soft);font-size:.84rem}
@media (max-width:640px){
main{padding:18px 14px 48px}
h2{margin-top:34px}
.card{padding:12px}
.falls,.falls tbody,.layers,.layers tbody{display:block}
.falls thead,.layers thead{position:absolute;clip-path:inset(50%);height:1px;width:1px;overflow:hidden}
.falls tr,.layers tr{display:grid;grid-template-columns:1fr auto auto;column-gap:10px;padding:5px 0}
.falls td,.falls th,.layers td,.layers th{padding:0}
.falls .track,.layers .track{grid-column:1/-1;grid-row:2;width:100%}
.falls .reason{display:block;padding:0 0 4px}.falls .reason td{padding:0}
.passes,.passes tbody{display:block}
.scroll:has(.passes){max-height:none}
.passes thead{position:absolute;clip-path:inset(50%);height:1px;width:1px;overflow:hidden}
.passes tr{display:flex;flex-wrap:wrap;gap:0 14px;padding:8px 10px;border-bottom:1px solid var(--line)}
.passes tr:last-child{border:0}
.passes th,.passes td{border:0;padding:0}
.passes th,.passes .wrap{flex:0 0 100%;min-width:0}
.passes td[data-label]:not(:empty)::before{content:attr(data-label) " ";color:var(--soft)}
.passes td:empty{display:none}
.layers .name{min-width:0}
dl{grid-template-columns:1fr}dt{margin-top:6px}
}
@media print{.scroll{max-height:none;overflow:visible}details{display:block}}
"""

SCRIPT = """
for (const button of document.querySelectorAll('th button')) {
  button.addEventListener('click', () => {
    const head = button.closest('th'), body = head.closest('table').tBodies[0];
    const column = head.cellIndex, number = head.dataset.kind === 'number';
    const up = head.ariaSort ? head.ariaSort === 'descending' : !number;
    for (const other of head.parentNode.cells) other.removeAttribute('aria-sort');
    head.setAttribute('aria-sort', up ? 'ascending' : 'descending');
    const key = (row) => {
      const cell = row.cells[column], text = cell.dataset.value ?? cell.textContent;
      return number ? (text === '' ? -Infinity : Number(text)) : text;
    };
    const rows = [...body.rows].map((row) => [key(row), row]);
    rows.sort(([a], [b]) => (number ? a - b : a.localeCompare(b, undefined, {numeric: true})) * (up ? 1 : -1));
    body.append(...rows.map(([, row]) => row));
  });
}
"""
