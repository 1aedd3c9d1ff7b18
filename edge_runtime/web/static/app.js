// The live page: the picture is a stream of JPEGs, events arrive by server-sent events, counters are asked for.
"use strict";

const SHOWN_EVENTS = 100;
const SILENCE_MS = 12000;   // the server beats every 5 s
const COUNTERS = [
  ["fps", "frames a second"], ["frames_processed", "frames processed"], ["frames_dropped", "frames dropped"],
  ["regions_per_frame", "regions a frame"], ["crops_per_frame", "crops a frame"],
  ["budget_overflow", "crops over budget"], ["tracks_started", "tracks"], ["events", "events"],
];
const byId = (id) => document.getElementById(id);
let heard = 0;
let newest = 0;

function setState(state, text) {
  const line = byId("state");
  if (line.dataset.state === state) return;
  line.dataset.state = state;
  line.textContent = text;
  document.body.classList.toggle("gone", state === "gone");
  if (state === "live") byId("picture").src = "stream.mjpg?" + Date.now();
}

function cell(row, text, kind) {
  const td = row.insertCell();
  td.textContent = text;
  if (kind) td.className = kind;
}

function addEvent(event) {
  if (event.seq <= newest) return;   // told again after a reconnect
  newest = event.seq;
  byId("none").hidden = true;
  const body = byId("events").tBodies[0];
  const row = body.insertRow(0);
  const track = event.track;
  cell(row, new Date(event.time).toLocaleTimeString([], { hour12: false }));
  cell(row, event.type.replace("_", " "), event.type);
  cell(row, track ? `${track.label} ${track.id}` : "");
  cell(row, track ? track.score.toFixed(2) : "");
  cell(row, event.media_s === null ? "" : `${event.media_s.toFixed(1)} s`);
  while (body.rows.length > SHOWN_EVENTS) body.deleteRow(-1);
}

function showCounters(stats) {
  const list = byId("counters");
  list.replaceChildren();
  for (const [key, name] of COUNTERS) {
    if (!(key in stats)) continue;
    const dt = document.createElement("dt");
    const dd = document.createElement("dd");
    dt.textContent = name;
    dd.textContent = Number(stats[key]).toLocaleString(undefined, { maximumFractionDigits: 2 });
    list.append(dt, dd);
  }
  const body = byId("stages").tBodies[0];
  body.replaceChildren();
  for (const [name, stage] of Object.entries(stats.stages || {})) {
    const row = body.insertRow();
    cell(row, name);
    cell(row, stage.p50_ms.toFixed(2));
    cell(row, stage.p95_ms.toFixed(2));
  }
}

function listen() {
  const source = new EventSource("events");
  const alive = () => { heard = Date.now(); setState("live", "live"); };
  source.onopen = alive;
  source.addEventListener("beat", alive);
  source.onmessage = (message) => { alive(); addEvent(JSON.parse(message.data)); };
  source.onerror = () => {
    setState("gone", "the runtime is gone; trying again");
    source.close();
    newest = 0;                       // another run numbers on, another node begins anew
    byId("events").tBodies[0].replaceChildren();
    setTimeout(listen, 2000);
  };
}

async function poll() {
  if (byId("state").dataset.state === "live") {
    try {
      const answer = await fetch("stats.json");
      if (answer.ok) showCounters(await answer.json());
    } catch { /* the event stream tells that the runtime is gone */ }
    if (Date.now() - heard > SILENCE_MS) setState("gone", "no sign of life; waiting");
  }
  setTimeout(poll, 1000);
}

listen();
poll();
