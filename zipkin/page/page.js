// The page: its header, and which view the address asks for.
import { getJSON, hue, message } from "./dom.js";
import { showDiscover } from "./discover.js";
import { showTrace, showView } from "./trace.js";
import { showDependencies } from "./dependency.js";

const main = document.getElementById("main");
let config = { queryLimit: 10, defaultLookback: 900000, searchEnabled: true };
let visit = 0; // the last view asked for: an older one that arrives late is dropped

// open goes to an address of the page without loading it anew.
export function open(url, { replace = false } = {}) {
  history[replace ? "replaceState" : "pushState"](null, "", url);
  route();
}

// show puts the view in place when it is there.
async function show(view) {
  const mine = ++visit;
  try {
    const element = await view;
    if (mine === visit) main.replaceChildren(element);
  } catch (error) {
    if (mine === visit) main.replaceChildren(message(error.message, true));
  }
}

function route() {
  const path = location.pathname;
  const trace = /^\/zipkin\/traces\/([^/]+)$/.exec(path);
  const current = path === "/zipkin/dependency" ? "dependency" : trace ? "" : "discover";
  for (const link of document.querySelectorAll("nav a")) {
    if (link.dataset.route === current) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (trace) return show(showTrace(decodeURIComponent(trace[1]), config));
  if (current === "dependency") return show(showDependencies(config));
  if (path === "/zipkin/traceViewer") return show(message("Choose “Open file” to look at a trace in Zipkin v2 JSON."));
  return show(showDiscover(config));
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a");
  if (!link || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey || link.download || link.target) return;
  const url = new URL(link.href);
  if (url.origin !== location.origin || !/^\/zipkin\/($|traces\/|dependency$)/.test(url.pathname)) return;
  event.preventDefault();
  open(url);
});
addEventListener("popstate", route);

document.getElementById("by-id").addEventListener("submit", (event) => {
  event.preventDefault();
  const id = event.target.elements.id.value.trim().toLowerCase();
  if (id) open(`/zipkin/traces/${encodeURIComponent(id)}`);
});

document.getElementById("upload").addEventListener("change", async (event) => {
  const file = event.target.files[0];
  event.target.value = "";
  if (!file) return;
  history.pushState(null, "", "/zipkin/traceViewer");
  show(file.text().then(async (text) => {
    let spans = JSON.parse(text);
    if (Array.isArray(spans[0])) spans = spans[0]; // an answer of the search: its first trace
    const body = JSON.stringify(spans);
    return showView(await getJSON("/zipkin/view/trace", { method: "POST", headers: { "Content-Type": "application/json" }, body }), config, spans);
  }));
});

document.getElementById("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = localStorage.theme = dark ? "light" : "dark";
});
if (localStorage.theme) document.documentElement.dataset.theme = localStorage.theme;

try {
  config = await getJSON("/zipkin/config.json");
  (await getJSON("/zipkin/api/v2/services")).forEach(hue); // in one order, so that colours are the same on every view
} catch {
  // The defaults do, and any colours.
}
if (config.environment) {
  const element = document.getElementById("environment");
  element.textContent = config.environment;
  element.hidden = false;
}
route();
