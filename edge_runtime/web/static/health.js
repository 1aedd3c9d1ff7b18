// How the node stands, and what it counts. What is wrong is said at the top of the page, too.
"use strict";

const HOT_C = 80;   // from here on a Raspberry Pi slows itself down
const COUNTERS = [
  ["fps", "frames a second"], ["frames_processed", "frames processed"], ["frames_dropped", "frames dropped"],
  ["regions_per_frame", "regions a frame"], ["crops_per_frame", "crops a frame"],
  ["budget_overflow", "crops over budget"], ["tracks_started", "tracks"], ["events", "events"],
];
let since = 0;

function lasted(seconds) {
  const minutes = Math.floor(seconds / 60);
  const hours = Math.floor(minutes / 60);
  if (minutes < 1) return `${Math.floor(seconds)} s`;
  if (hours < 1) return `${minutes} min`;
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} days`;
}

// By this machine's clock: the node's own may not be set. What differs by the way here is no other start.
function running(uptime_s) {
  const start = Date.now() - 1000 * uptime_s;
  if (Math.abs(start - since) > 5000) since = start;
  const day = { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
  return `${new Date(since).toLocaleString([], day)} (${lasted(uptime_s).replaceAll(" ", "\u00a0")})`;
}

// Each: name, text, whether it is wrong.
function standing({ broker, events_waiting: waiting, tamper, temperature_c: heat, uptime_s: uptime }) {
  const rows = [];
  if (broker !== undefined) {
    const off = Boolean(broker?.trouble);
    rows.push(["broker", broker ? (off ? "not connected" : "connected") : "none", off]);
  }
  if (waiting !== undefined) rows.push(["events waiting", waiting.toLocaleString(), false]);
  if (tamper !== undefined) {
    rows.push(["tampering", tamper ? tamper.join(", ") || "none seen" : "not watched for", Boolean(tamper?.length)]);
  }
  if (heat !== undefined) {
    rows.push(["temperature", heat === null ? "not told" : `${heat.toFixed(1)} °C`, heat !== null && heat >= HOT_C]);
  }
  if (uptime !== undefined) rows.push(["running since", running(uptime), false]);
  return rows;
}

function wrong({ broker, tamper }) {
  const said = [];
  if (broker?.trouble) said.push(`Broker ${broker.name}: ${broker.trouble}. Events are kept here and sent later.`);
  if (tamper?.length) said.push(`Camera: ${tamper.join(", ")}.`);
  return said.join(" ");
}

// Only what has changed is touched: a screen reader keeps its place, and tells of what is wrong once.
function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function putPairs(list, rows) {
  while (list.children.length > 2 * rows.length) list.lastChild.remove();
  rows.forEach(([name, text, bad], i) => {
    if (!list.children[2 * i]) list.append(document.createElement("dt"), document.createElement("dd"));
    put(list.children[2 * i], name);
    put(list.children[2 * i + 1], text);
    list.children[2 * i + 1].className = bad ? "bad" : "";
  });
}

function showHealth(stats) {
  put(byId("trouble"), wrong(stats));
  putPairs(byId("standing"), standing(stats));
  const number = (key) => Number(stats[key]).toLocaleString(undefined, { maximumFractionDigits: 2 });
  putPairs(byId("counters"), COUNTERS.filter(([key]) => key in stats).map(([key, name]) => [name, number(key), false]));
  const body = byId("stages").tBodies[0];
  const stages = Object.entries(stats.stages || {});
  if (stats.puback_ms) {
    stages.push(["sensor to PUBACK", { p50_ms: stats.puback_ms.p50, p95_ms: stats.puback_ms.p95 }]);
  }
  while (body.rows.length > stages.length) body.deleteRow(-1);
  stages.forEach(([name, stage], i) => {
    const row = body.rows[i] || body.insertRow();
    [name, stage.p50_ms.toFixed(2), stage.p95_ms.toFixed(2)].forEach((text, j) => put(row.cells[j] || row.insertCell(), text));
  });
}
