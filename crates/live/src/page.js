// The script of the live page: puts what the server pushes in its place, and sends what a button says.
"use strict";

const byId = (id) => document.getElementById(id);
const main = byId("main");

// The token comes behind the # of the address, which no server sees, and stays in this tab.
function takeToken() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (!given) return false;
  sessionStorage.setItem("taskfault-token", given);
  history.replaceState(null, "", location.pathname + location.search);
  return true;
}
takeToken();
// The address with the token may be entered where the page is open already: then it is not loaded anew.
addEventListener("hashchange", () => takeToken() && location.reload());
const token = sessionStorage.getItem("taskfault-token");

// --- What is pushed -----------------------------------------------------------------------------------------------

const logs = new Map();

/** Puts a fragment in its place, and leaves open, focused and scrolled what was. */
function put(id, html) {
  const place = byId(id);
  if (!place) return;
  const open = new Set([...place.querySelectorAll("details[open]")].map((it) => it.id));
  const scrolled = new Map([...place.querySelectorAll("details[open] pre")].map((it) => [it.parentElement.id, it.scrollTop]));
  const focused = place.contains(document.activeElement) ? focusPath(document.activeElement) : null;
  place.innerHTML = html;
  for (const details of place.querySelectorAll("details")) {
    if (!open.has(details.id)) continue;
    details.open = true;
    const pre = details.querySelector("pre");
    if (pre && logs.has(details.id)) {
      pre.textContent = logs.get(details.id);
      pre.scrollTop = scrolled.get(details.id) ?? 0;
    }
  }
  refocus(place, focused);
  allow(place);
  tick();
}

/** How to find an element again: by the nearest id, and what it is in there. */
function focusPath(element) {
  const holder = element.closest("[id]");
  return holder ? { id: holder.id, tag: holder === element ? null : element.tagName } : null;
}

function refocus(place, path) {
  if (!path) return;
  const holder = byId(path.id);
  if (!holder || !place.contains(holder)) return;
  (path.tag ? holder.querySelector(path.tag) : holder)?.focus({ preventScroll: true });
}

/** Buttons that change something are for those who have the token. */
function allow(place) {
  for (const button of place.querySelectorAll("[data-needs-token]")) {
    button.disabled = !token;
    if (!token) button.title = "Open the address with #token= that taskfault-local has printed to change something";
  }
}

// What is pressed or read must not be replaced under the pointer: a click would be lost.
const waiting = new Map();
let pressed = null;
let hovering = false;

function show(id, html) {
  if ((hovering && id === "charts") || (pressed && byId(id)?.contains(pressed))) waiting.set(id, html);
  else put(id, html);
}

function showWaiting() {
  const all = [...waiting];
  waiting.clear();
  for (const [id, html] of all) show(id, html);
}

document.addEventListener("pointerdown", (event) => (pressed = event.target));
for (const kind of ["pointerup", "pointercancel"]) {
  document.addEventListener(kind, () => {
    pressed = null;
    // After the click that this makes.
    setTimeout(showWaiting, 0);
  });
}

let stream = null;
function listen() {
  if (stream || !main) return;
  stream = new EventSource(`/_taskfault/live/stream?span=${main.dataset.span}`);
  stream.addEventListener("open", () => link("live", true));
  stream.addEventListener("error", () => link("no connection; trying again", false));
  stream.addEventListener("fragment", (event) => {
    const { id, html } = JSON.parse(event.data);
    show(id, html);
  });
}

function link(words, good) {
  const place = byId("link");
  if (place.textContent !== words) place.textContent = words;
  place.classList.toggle("lost", !good);
}

// Who does not look is not told: the server then draws nothing.
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) return listen();
  stream?.close();
  stream = null;
});

// --- Countdowns and logs ------------------------------------------------------------------------------------------

function left(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, "0")} s`;
  return `${Math.floor(whole / 3600)} h ${String(Math.floor(whole / 60) % 60).padStart(2, "0")} min`;
}

function tick() {
  for (const place of document.querySelectorAll("[data-until]")) {
    place.textContent = `in ${left(Number(place.dataset.until) - Date.now() / 1000)}`;
  }
}

async function readLogs() {
  for (const details of document.querySelectorAll("details[data-log][open]")) {
    const pre = details.querySelector("pre");
    const atEnd = pre.scrollTop + pre.clientHeight >= pre.scrollHeight - 8 || !logs.has(details.id);
    try {
      const text = await (await fetch(details.dataset.log)).text();
      logs.set(details.id, text || "(nothing is written yet)");
      const now = byId(details.id)?.querySelector("pre");
      if (now && now.textContent !== logs.get(details.id)) {
        now.textContent = logs.get(details.id);
        if (atEnd) now.scrollTop = now.scrollHeight;
      }
    } catch {
      // The line at the top says that there is no connection.
    }
  }
}

setInterval(() => {
  if (document.hidden) return;
  tick();
  readLogs();
}, 1000);
document.addEventListener("toggle", (event) => event.target.open && event.target.dataset.log && readLogs(), true);

// --- Values under the pointer -------------------------------------------------------------------------------------

const hover = byId("hover");

document.addEventListener("pointermove", (event) => {
  const svg = event.target.closest?.("svg[data-values]");
  const values = svg ? JSON.parse(svg.dataset.values) : [];
  hovering = values.length > 0;
  if (!hover) return;
  if (!hovering) {
    hover.hidden = true;
    showWaiting();
    return;
  }
  const box = svg.getBoundingClientRect();
  const at = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
  const near = values.reduce((best, one) => (Math.abs(one[0] - at) < Math.abs(best[0] - at) ? one : best));
  hover.textContent = near[1];
  hover.hidden = false;
  hover.style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - hover.offsetWidth - 8))}px`;
  hover.style.top = `${Math.min(event.clientY + 16, innerHeight - hover.offsetHeight - 8)}px`;
});

// --- What buttons do ----------------------------------------------------------------------------------------------

function answer(words, good) {
  const place = byId("answer");
  place.textContent = words;
  place.classList.toggle("good", good);
}

async function change(what, body, done) {
  try {
    const response = await fetch(`/_taskfault/live/${what}`, {
      method: "POST",
      headers: { "content-type": "application/json", "x-taskfault-token": token ?? "" },
      body: JSON.stringify(body),
    });
    const told = await response.json();
    answer(response.ok ? done : told.message, response.ok);
  } catch {
    answer("taskfault-local did not answer.", false);
  }
}

const ask = byId("ask");
let asked = null;

document.addEventListener("click", async (event) => {
  const button = event.target.closest?.("button");
  if (!button) return;
  const { start, rehearse, stop, copy } = button.dataset;
  if (start) await change("start", { template: start }, "The experiment is started.");
  if (rehearse) await change("rehearse", { template: rehearse }, "The rehearsal is started: targets are chosen, actions are skipped.");
  if (stop) {
    asked = stop;
    byId("ask-name").textContent = button.dataset.name;
    ask.showModal();
    byId("ask-no").focus();
  }
  if (button.id === "ask-no") ask.close();
  if (button.id === "ask-yes") {
    ask.close();
    await change("stop", { experiment: asked }, "The experiment is being stopped.");
  }
  if (copy) {
    try {
      await navigator.clipboard.writeText(byId(copy).textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(byId(copy));
      button.textContent = "Selected: copy it by Ctrl-C";
    }
  }
});

allow(document);
tick();
if (main?.dataset.span) listen();
