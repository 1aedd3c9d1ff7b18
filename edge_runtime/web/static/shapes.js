// Zones, lines and slots on the picture: shown, drawn, their corners moved. Points are shares of the frame.
"use strict";

const KINDS = { zones: "zone", lines: "line", slots: "slot" };
const STEP = 0.01;            // of the frame, for the arrow keys; with Shift a tenth of it
const TWICE_MS = 400;         // two taps on a corner within this remove it
const HINTS = {
  area: {
    drawing: "Tap the corners on the picture, one after the other, then the first one again.",
    moving: "Drag the corners; a double tap removes one. By keyboard: arrow keys, with Shift in small steps, and Delete.",
  },
  line: {
    drawing: "Tap the line's two ends on the picture.",
    moving: "Drag the ends, or move them by arrow keys, with Shift in small steps. The arrow shows which way is in.",
  },
};
let known = null;             // what the node says of its rules
let draft = null;             // {kind, rule, was, drawing, wrong}: what is being edited
let hover = null;             // where the mouse is while corners are set
let tapped = { index: -1, at: 0 };

const rounded = (value) => Math.round(Math.min(Math.max(value, 0), 1) * 1e4) / 1e4;

function svg(tag, kind, attributes) {
  const part = document.createElementNS("http://www.w3.org/2000/svg", tag);
  part.setAttribute("class", kind);
  for (const [key, value] of Object.entries(attributes)) part.setAttribute(key, value);
  byId("shapes").append(part);
  return part;
}

// The way `in` goes: to the right of a -> b. The tip of its arrow.
function drawArrow([a, b], middle, look) {
  const [dx, dy] = [b[0] - a[0], b[1] - a[1]];
  const length = Math.hypot(dx, dy) || 1;
  const [nx, ny] = [-dy / length, dx / length];
  const tip = [middle[0] + nx * 34, middle[1] + ny * 34];
  const wing = (s) => [tip[0] - nx * 10 + (s * dx / length) * 8, tip[1] - ny * 10 + (s * dy / length) * 8].join();
  svg("polyline", look, { points: `${middle.join()} ${tip.join()}` });
  svg("polyline", look, { points: `${wing(1)} ${tip.join()} ${wing(-1)}` });
  return [tip[0] + nx * 14, tip[1] + ny * 14];
}

// Where a vertical line at x meets the area first: names stand below it, so that those of areas in areas stay apart.
function topAt(at, x) {
  const met = at.map((p, i) => [p, at[(i + 1) % at.length]]).filter(([p, q]) => (p[0] < x) !== (q[0] < x));
  return Math.min(...met.map(([p, q]) => p[1] + (q[1] - p[1]) * (x - p[0]) / (q[0] - p[0])), Math.max(...at.map((p) => p[1])));
}

function drawShape(kind, rule, chosen) {
  const box = byId("stage").getBoundingClientRect();
  const drawing = chosen && draft.drawing;
  const points = drawing && hover ? [...rule.points, hover] : rule.points;
  const at = points.map(([x, y]) => [x * box.width, y * box.height]);
  const look = [kind, chosen ? "chosen" : draft && "other", chosen && draft.wrong && "wrong", drawing && "open"].filter(Boolean).join(" ");
  svg(kind === "lines" || drawing ? "polyline" : "polygon", look, { points: at.map((p) => p.join()).join(" ") });
  if (!at.length) return;
  let middle = [0, 1].map((i) => at.reduce((sum, p) => sum + p[i], 0) / at.length);
  if (kind !== "lines") middle[1] = topAt(at, middle[0]) + 18;
  else if (at.length === 2) middle = drawArrow(at, middle, look);
  if (drawing) return;
  const text = svg("text", look, {});
  text.textContent = kind === "lines" ? `${rule.name}: in` : rule.name;
  const half = text.getComputedTextLength() / 2 + 4;
  text.setAttribute("x", Math.min(Math.max(middle[0], half), box.width - half));
  text.setAttribute("y", Math.min(Math.max(middle[1], 16), box.height - 8));
}

function redraw() {
  byId("shapes").replaceChildren();
  if (!known) return;
  for (const kind of Object.keys(KINDS)) {
    for (const rule of known.rules[kind]) {
      if (draft && draft.kind === kind && draft.was === rule.name) continue;
      drawShape(kind, rule, false);
    }
  }
  if (draft) drawShape(draft.kind, draft.rule, true);
  byId("shapes").append(...byId("shapes").querySelectorAll("text"));   // names above all areas
}

function share(event) {
  const box = byId("stage").getBoundingClientRect();
  return [rounded((event.clientX - box.left) / box.width), rounded((event.clientY - box.top) / box.height)];
}

function place(handle, [x, y]) { handle.style.left = `${x * 100}%`; handle.style.top = `${y * 100}%`; }

function moved() { draft.wrong = false; redraw(); }

function removeCorner(i) {
  const points = draft.rule.points;
  if (draft.kind === "lines" || points.length <= 3) return;
  points.splice(i, 1);
  moved();
  makeHandles(Math.min(i, points.length - 1));
}

function makeHandle(i, between) {
  const points = draft.rule.points;
  const handle = document.createElement("button");
  const next = points[(i + 1) % points.length];
  const middle = [0, 1].map((k) => rounded((points[i][k] + next[k]) / 2));
  const last = draft.drawing && i === 0 && points.length >= 3;
  handle.type = "button";
  handle.className = ["handle", between && "between", last && "last"].filter(Boolean).join(" ");
  handle.textContent = draft.wrong && !between ? i : "";
  place(handle, between ? middle : points[i]);
  handle.setAttribute("aria-label", between
    ? `Add a corner after corner ${i}`
    : last ? "Close the area here"
    : `Corner ${i}, of ${points.length} counted from 0: arrow keys move it, Delete removes it`);
  const insert = () => { points.splice(i + 1, 0, middle); moved(); };
  handle.onpointerdown = (event) => {
    if (draft.drawing) return;
    let index = i;
    let still = true;
    handle.setPointerCapture(event.pointerId);
    if (between) { insert(); index = i + 1; }
    handle.onpointermove = (move) => {
      if (still && Math.hypot(move.clientX - event.clientX, move.clientY - event.clientY) < 4) return;
      still = false;
      points[index] = share(move);
      place(handle, points[index]);
      moved();
    };
    handle.onpointerup = handle.onpointercancel = () => {
      handle.onpointermove = null;
      const twice = still && !between && tapped.index === index && event.timeStamp - tapped.at < TWICE_MS;
      tapped = { index: still && !twice && !between ? index : -1, at: event.timeStamp };
      if (twice) removeCorner(index); else makeHandles(index);
    };
  };
  handle.onkeydown = (event) => {
    const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (between && (event.key === "Enter" || event.key === " ")) {
      event.preventDefault();
      insert();
      makeHandles(i + 1);
    } else if (!between && event.key in ways) {
      event.preventDefault();
      const step = event.shiftKey ? STEP / 10 : STEP;
      points[i] = points[i].map((value, k) => rounded(value + ways[event.key][k] * step));
      place(handle, points[i]);
      moved();
    } else if (!between && (event.key === "Delete" || event.key === "Backspace")) {
      event.preventDefault();
      removeCorner(i);
    }
  };
  byId("handles").append(handle);
  return handle;
}

function makeHandles(focused) {
  byId("handles").replaceChildren();
  byId("undo").hidden = !draft?.drawing || !draft.rule.points.length;
  byId("ready-made").hidden = !draft?.drawing || !byId("undo").hidden;
  if (!draft) return;
  const corners = draft.rule.points.map((_, i) => makeHandle(i, false));
  if (!draft.drawing && draft.kind !== "lines") draft.rule.points.forEach((_, i) => makeHandle(i, true));
  if (focused !== undefined) corners[focused]?.focus({ preventScroll: true });
}

// Whether taps on the picture set corners, or corners that are there are moved.
function setDrawing(on) {
  const kind = draft?.kind === "lines" ? "line" : "area";
  hover = null;
  if (draft) draft.drawing = on;
  byId("stage").classList.toggle("drawing", on);
  byId("ready-made").textContent = `Put a ready-made ${kind}`;
  byId("hint").textContent = draft ? HINTS[kind][on ? "drawing" : "moving"] : "";
  makeHandles();
  redraw();
}

function finishDrawing() {
  setDrawing(false);
  byId("name").focus({ preventScroll: true });
  byId("name").select();
}

byId("stage").addEventListener("click", (event) => {
  if (!draft?.drawing) return;
  const points = draft.rule.points;
  if (event.target === byId("handles").firstChild && points.length >= 3) return finishDrawing();
  points.push(share(event));
  if (draft.kind === "lines" && points.length === 2) return finishDrawing();
  moved();
  makeHandles();
});
byId("stage").addEventListener("pointermove", (event) => {
  if (!draft?.drawing || event.pointerType !== "mouse") return;
  hover = share(event);
  redraw();
});
byId("stage").addEventListener("pointerleave", () => { hover = null; redraw(); });
byId("ready-made").onclick = () => {
  draft.rule.points = draft.kind === "lines" ? [[0.3, 0.5], [0.7, 0.5]] : [[0.35, 0.35], [0.65, 0.35], [0.65, 0.65], [0.35, 0.65]];
  setDrawing(false);
  makeHandles(0);
};
byId("undo").onclick = () => { draft.rule.points.pop(); moved(); makeHandles(); };
byId("picture").addEventListener("load", redraw);
new ResizeObserver(redraw).observe(byId("stage"));
