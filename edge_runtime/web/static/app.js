// The live page: the picture is a stream of JPEGs, events arrive by server-sent events, counters are asked for.
"use strict";

const SILENCE_MS = 12000;   // the server beats every 5 s
const byId = (id) => document.getElementById(id);
let heard = 0;

function setState(state, text) {
  const line = byId("state");
  if (line.dataset.state === state) return;
  line.dataset.state = state;
  line.textContent = text;
  document.body.classList.toggle("gone", state === "gone");
  if (state === "gone") byId("trouble").textContent = "";   // nobody knows
  if (state === "live") byId("picture").src = "stream.mjpg?" + Date.now();
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
    forgetEvents();
    if ((await fetch("stats.json").catch(() => null))?.status === 401) location.reload();   // to the login
    setTimeout(listen, 2000);
  };
}

async function poll() {
  if (byId("state").dataset.state === "live") {
    try {
      const answer = await fetch("stats.json");
      if (answer.ok) showHealth(await answer.json());
    } catch { /* the event stream tells that the runtime is gone */ }
    if (Date.now() - heard > SILENCE_MS) setState("gone", "no sign of life; waiting");
  }
  setTimeout(poll, 1000);
}

listen();
poll();
