// The timeline: each event with the reason that its rule gave when it fired, and how long its track had been watched.
"use strict";

const SHOWN_EVENTS = 100;
let newest = 0;

// What the rule said, without the type that the heading shows. Settings may have changed since: only the event counts.
function reason(event) {
  const why = event.why || "";
  return why.startsWith(event.type) ? why.slice(why.indexOf(": ") + 2) : why;
}

function because(event) {
  const track = event.track;
  const who = track ? `${track.label} ${track.id}` : "";
  const score = track ? `, score ${track.score.toFixed(2)}` : "";
  const said = reason(event);
  const told = (said && `: ${said}`) + (said.includes("score") ? "" : score);
  const dwell = event.dwell_s === null ? "" : `${event.dwell_s.toFixed(1)} s`;
  const wrong = event.kind === "noise" ? "noisy" : event.kind;
  switch (event.type) {
    case "track_start": return `${who}${score}: seen often enough to be followed`;
    case "track_update": return `${who}${score}: still there`;
    case "track_end": return `${who}${score}: not seen any more`;
    case "zone_enter": return `${who} entered zone ${event.zone}${told}`;
    case "zone_leave": return `${who} left zone ${event.zone}${told}`;
    case "dwell": return `${who} stays in zone ${event.zone}${told}`;
    case "line_cross": return `${who} crossed line ${event.line}, ${event.direction}${told}`;
    case "slot_occupied": case "slot_free": {
      const before = event.type === "slot_free" ? "occupied" : "free";
      return `slot ${event.slot}: ${said || "looks so for long enough"}` + (dwell && `; before that ${before} for ${dwell}`);
    }
    case "identity": case "plate":
      return `${who}${score}: ${said || event.name || event.state}` +
        (event.confidence == null ? "" : `, confidence ${event.confidence.toFixed(2)}`);
    case "tamper": return `the camera is ${wrong}: ${said || "it has been for long enough"}`;
    case "tamper_clear": return `the camera is not ${wrong} any more` + (said && `: ${said}`);
    case "events_dropped": return `${event.count} events were dropped, oldest first: the outbox is full, or they were too old`;
    case "node_online": return "the node has started: its first frame has come";
    default: return who + score;
  }
}

// Which frames it rests on: from the first of its track to the one that decided it.
function watched({ track, time, media_s: clip }) {
  const second = (value) => `${value.toFixed(2)} s`;
  if (!track) return clip === null ? "" : `at ${second(clip)} of the clip`;
  const age = track.age_s;
  if (clip !== null) {   // a clip that begins anew goes on with its tracks
    return `watched for ${second(age)}, ` + (age > clip ? "" : `from ${second(clip - age)} `) + `to ${second(clip)} of the clip`;
  }
  const clock = (at) => new Date(at).toLocaleTimeString([], { hour12: false, fractionalSecondDigits: 1 });
  const end = Date.parse(time);
  return `watched for ${second(age)}, from ${clock(end - 1000 * age)} to ${clock(end)}`;
}

function addEvent(event) {
  if (event.seq <= newest) return;   // told again after a reconnect
  newest = event.seq;
  byId("none").hidden = true;
  const item = document.createElement("li");
  item.className = event.type;
  const line = (tag, kind, text) => {
    const part = document.createElement(tag);
    part.className = kind;
    part.textContent = text;
    if (text) item.append(part);
  };
  const about = event.line ? `${event.line}, ${event.direction}`
    : event.zone || event.slot || event.kind || event.name || event.state;
  line("time", "when", new Date(event.time).toLocaleTimeString([], { hour12: false }));
  line("strong", "what", [event.type.replace("_", " "), about].filter(Boolean).join(": "));
  line("span", "why", because(event));
  line("span", "watched", watched(event));
  byId("events").prepend(item);
  while (byId("events").children.length > SHOWN_EVENTS) byId("events").lastChild.remove();
}

// Another run numbers on, another node begins anew.
function forgetEvents() {
  newest = 0;
  byId("events").replaceChildren();
  byId("none").hidden = false;
}
