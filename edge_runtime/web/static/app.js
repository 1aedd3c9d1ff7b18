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

function cell(row, text) {
  row.insertCell().textContent = text;
}

// Why it was told, from the event and the settings of its rule.
function because(event) {
  const track = event.track;
  const who = track ? `${track.label} ${track.id}, score ${track.score.toFixed(2)}` : "";
  const zone = event.zone && window.ruleNamed ? window.ruleNamed("zones", event.zone) : null;
  const held = (key) => (zone ? ` (${key} ${zone[key]})` : "");
  const dwell = event.dwell_s === null ? "" : `${event.dwell_s.toFixed(1)} s`;
  switch (event.type) {
    case "track_start": return `${who}: seen often enough to be followed`;
    case "track_update": return `${who}: still there after ${track.age_s.toFixed(1)} s`;
    case "track_end": return `${who}: not seen any more, after ${track.age_s.toFixed(1)} s`;
    case "zone_enter": return `${who}: stood in zone ${event.zone} long enough${held("enter_s")}`;
    case "zone_leave": return `${who}: out of zone ${event.zone} long enough${held("leave_s")}, was inside ${dwell}`;
    case "dwell": return `${who}: in zone ${event.zone} for ${dwell}${held("dwell_s")}`;
    case "line_cross": return `${who}: crossed line ${event.line}, ${event.direction}`;
    case "slot_occupied": case "slot_free":
      return `slot ${event.slot} looks ${event.state || ""} for long enough` + (dwell ? `; before that ${dwell}` : "");
    case "identity": case "plate":
      return `${who}: ${event.why || event.name || event.state}` +
        (event.confidence == null ? "" : `, confidence ${event.confidence.toFixed(2)}`);
    case "tamper": return `the camera has been ${event.kind} for long enough`;
    case "tamper_clear": return `the camera is not ${event.kind} any more`;
    default: return who;
  }
}

function addEvent(event) {
  if (event.seq <= newest) return;   // told again after a reconnect
  newest = event.seq;
  byId("none").hidden = true;
  const item = document.createElement("li");
  item.className = event.type;
  const put = (tag, kind, text) => {
    const part = document.createElement(tag);
    part.className = kind;
    part.textContent = text;
    item.append(part);
  };
  put("time", "when", new Date(event.time).toLocaleTimeString([], { hour12: false }));
  put("strong", "what", [event.type.replace("_", " "), 
    event.zone || event.line || event.slot || event.kind || event.name || event.state].filter(Boolean).join(": "));
  put("span", "why", because(event) + (event.media_s === null ? "" : `; ${event.media_s.toFixed(1)} s into the clip`));
  byId("events").prepend(item);
  while (byId("events").children.length > SHOWN_EVENTS) byId("events").lastChild.remove();
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
  if (stats.puback_ms) {
    const row = body.insertRow();
    cell(row, "sensor to PUBACK");
    cell(row, stats.puback_ms.p50.toFixed(2));
    cell(row, stats.puback_ms.p95.toFixed(2));
  }
}

function listen() {
  const source = new EventSource("events");
  const alive = () => { heard = Date.now(); setState("live", "live"); };
  source.onopen = () => { alive(); window.rulesChanged?.(); };
  source.addEventListener("beat", alive);
  source.addEventListener("rules", () => { alive(); window.rulesChanged?.(); });
  source.onmessage = (message) => { alive(); addEvent(JSON.parse(message.data)); };
  source.onerror = async () => {
    source.close();
    setState("gone", "the runtime is gone; trying again");
    newest = 0;                       // another run numbers on, another node begins anew
    byId("events").replaceChildren();
    byId("none").hidden = false;
    if ((await fetch("stats.json").catch(() => null))?.status === 401) location.reload();   // to the login
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
