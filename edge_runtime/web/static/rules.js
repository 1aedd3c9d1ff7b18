// The list of zones, lines and slots, and the form for one of them: what is saved is in force at once.
"use strict";

function add(kind) {
  const taken = new Set(Object.values(known.rules).flat().map((rule) => rule.name));
  let n = 1;
  while (taken.has(`${KINDS[kind]}-${n}`)) n += 1;
  const rule = { name: `${KINDS[kind]}-${n}`, points: [] };
  for (const [key, { default: value }] of Object.entries(known.fields[kind])) rule[key] = structuredClone(value);
  edit({ kind, rule, was: null }, true);
  byId("stage").scrollIntoView({ block: "nearest" });
}

function showChoices(labels) {
  byId("choices").replaceChildren();
  for (const label of new Set([...known.labels, ...labels])) {
    const line = document.createElement("label");
    const box = document.createElement("input");
    box.type = "checkbox";
    box.value = label;
    box.checked = labels.includes(label);
    line.append(box, label);
    byId("choices").append(line);
  }
}

function showFields(kind, rule) {
  byId("fields").replaceChildren();
  for (const [key, { doc, default: value }] of Object.entries(known.fields[kind])) {
    if (key === "labels") continue;
    const line = document.createElement("label");
    const about = document.createElement("small");
    const input = document.createElement("input");
    about.textContent = doc;
    input.id = `field-${key}`;
    input.dataset.key = key;
    input.value = rule[key];
    if (typeof value === "number") input.inputMode = "decimal";
    line.append(key, about, input);
    byId("fields").append(line);
  }
}

// Begin to edit a rule, or end it (null).
function edit(next, drawing = false) {
  draft = next;
  accept();
  byId("saved").hidden = Boolean(known.file);
  byId("form").hidden = !draft;
  byId("list").hidden = byId("adders").hidden = Boolean(draft);
  if (draft) {
    const { kind, rule } = draft;
    byId("name").value = rule.name;
    byId("turn").hidden = kind !== "lines";
    byId("delete").hidden = draft.was === null;
    byId("labels").hidden = byId("more").hidden = kind === "slots";
    byId("about-slots").hidden = kind !== "slots";
    byId("more").open = false;
    showChoices(rule.labels || []);
    showFields(kind, rule);
  }
  setDrawing(drawing);
}

function read() {
  const rule = draft.rule;
  rule.name = byId("name").value.trim();
  if (draft.kind === "slots") return rule;
  rule.labels = [...byId("choices").querySelectorAll("input:checked")].map((box) => box.value);
  for (const input of byId("fields").querySelectorAll("input")) {
    const isNumber = typeof known.fields[draft.kind][input.dataset.key].default === "number";
    const number = Number(input.value);
    rule[input.dataset.key] = isNumber && input.value.trim() && !Number.isNaN(number) ? number : input.value;
  }
  return rule;
}

function accept() {
  byId("form").querySelectorAll("[aria-invalid]").forEach((input) => input.removeAttribute("aria-invalid"));
  byId("error").hidden = true;
  if (draft) draft.wrong = false;
}

// Say what the node says is wrong, beside the field it names; corners are numbered as in the message.
function refuse({ error, where }) {
  byId("error").textContent = error.replace(/^(zones|lines|slots)\[\d+\]\.?/, "").replace(/\w+\[\d+\]\.name has/, "another has");
  byId("error").hidden = false;
  const input = where?.field === "name" ? byId("name") : byId(`field-${where?.field}`);
  if (input) {
    if (input !== byId("name")) byId("more").open = true;
    input.setAttribute("aria-invalid", "true");
    input.focus();
  }
  if (where?.field === "points" && draft?.rule.points.length) {
    draft.wrong = true;
    redraw();
    makeHandles();
  }
  byId("error").scrollIntoView({ block: "nearest" });
}

async function send(change) {
  const rules = {};
  for (const kind of Object.keys(KINDS)) rules[kind] = known.rules[kind].map((rule) => ({ ...rule, was: rule.name }));
  change(rules);
  accept();
  byId("save").disabled = true;
  try {
    const answer = await fetch("rules.json", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ revision: known.revision, rules }),
    });
    if (answer.status === 401) return refuse({ error: "The password has changed; load the page again to log in." });
    const said = await answer.json();
    if (!answer.ok) return refuse(said);
    take(said);
    edit(null);
    byId("saved").hidden = false;
    if (known.file) byId("saved").textContent = `Saved to ${known.file}, in force now.`;
    byId("add-zones").focus({ preventScroll: true });
  } catch {
    refuse({ error: "The node did not answer; nothing is known to be saved. Try again." });
  } finally {
    byId("save").disabled = false;
  }
}

// What the node says of its rules.
function take(said) {
  known = said;
  byId("rules").hidden = false;
  byId("list").replaceChildren();
  for (const kind of Object.keys(KINDS)) {
    for (const rule of known.rules[kind]) {
      const item = document.createElement("li");
      const button = document.createElement("button");
      const about = document.createElement("small");
      button.type = "button";
      button.className = kind;
      about.textContent = [KINDS[kind], (rule.labels || []).join(", ")].filter(Boolean).join(" · ");
      button.append(rule.name, about);
      button.onclick = () => edit({ kind, rule: structuredClone(rule), was: rule.name });
      item.append(button);
      byId("list").append(item);
    }
  }
  byId("copy").hidden = Boolean(known.file);
  byId("text").value = known.text;
  if (!known.file) byId("saved").textContent = "No --config was given: edits last until the program ends. Copy the text below to keep them.";
  redraw();
}

window.rulesChanged = async () => {
  if (draft) return;   // what is being edited is not swept away; saving says that the rules were changed elsewhere
  const answer = await fetch("rules.json").catch(() => null);
  const said = answer?.ok ? await answer.json() : null;   // null: this node has no rules to edit
  if (said && !draft) take(said);
};

byId("form").onsubmit = (event) => {
  event.preventDefault();
  const row = { ...read(), was: draft.was };
  send((rules) => {
    const list = rules[draft.kind];
    const i = list.findIndex((rule) => draft.was !== null && rule.was === draft.was);
    if (i < 0) list.push(row); else list[i] = row;
  });
};
byId("cancel").onclick = () => { edit(null); window.rulesChanged(); };
byId("turn").onclick = () => { draft.rule.points.reverse(); makeHandles(); moved(); };
byId("delete").onclick = () => {
  const { kind, was } = draft;
  if (window.confirm(`Delete ${KINDS[kind]} ${was}?`)) {
    send((rules) => { rules[kind] = rules[kind].filter((rule) => rule.was !== was); });
  }
};
byId("name").oninput = () => { draft.rule.name = byId("name").value; redraw(); };
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && draft) byId("cancel").click();
});
for (const kind of Object.keys(KINDS)) byId(`add-${kind}`).onclick = () => add(kind);
window.rulesChanged();
