// One trace: header, overview, waterfall and what is known of a span.
import { clock, duration, getJSON, h, hued } from "./dom.js";

export async function showTrace(id, config) {
  return showView(await getJSON(`/zipkin/view/trace/${encodeURIComponent(id)}`), config);
}

// showView draws a trace; spans are those of a file, which has no address.
export function showView(view, config, spans) {
  const state = { view, from: 0, to: Math.max(view.duration, 1), closed: new Set(), chosen: -1 };
  const rows = h("div", { role: "treegrid", "aria-label": "Spans" });
  const scroller = h("div", { class: "rows" });
  const ticks = h("div", { class: "ticks" });
  const aside = h("aside", { class: "card drawer", hidden: true });
  const body = h("div", { class: "trace-body" });
  const choose = (index) => {
    state.chosen = index;
    rows.querySelector('[aria-selected="true"]')?.removeAttribute("aria-selected");
    rows.querySelector(`[data-index="${index}"]`)?.setAttribute("aria-selected", "true");
    aside.hidden = index < 0;
    body.classList.toggle("open", index >= 0);
    if (index >= 0) aside.replaceChildren(...details(view, view.rows[index], () => choose(-1)));
  };
  const draw = () => {
    const at = scroller.scrollTop;
    ticks.replaceChildren(...ruler(state));
    rows.replaceChildren(...visible(state).map((index) => drawRow(state, index, choose, (i) => {
      if (!state.closed.delete(i)) state.closed.add(i);
      draw();
    })));
    scroller.scrollTop = at;
  };
  const setAll = (close) => () => {
    state.closed = new Set(close ? view.rows.keys().filter((i) => view.rows[i].children > 0 && view.rows[i].depth > 0) : []);
    draw();
  };
  rows.addEventListener("keydown", (event) => moveByKey(event, rows));
  const all = (text, close) => h("button", { type: "button", class: "quiet", onclick: setAll(close) }, text);
  scroller.append(h("div", { class: "ruler" }, h("div", null, all("Collapse all", true), all("Expand all", false)), ticks), rows);
  body.append(h("div", { class: "card waterfall" }, view.rows.length > 1 && minimap(state, draw), scroller), aside);
  draw();
  return h("div", null, header(view, config, spans), body);
}

function header(view, config, spans) {
  const fact = (name, value) => h("div", null, h("dt", null, name), h("dd", null, value));
  const download = spans
    ? { href: URL.createObjectURL(new Blob([JSON.stringify(spans)], { type: "application/json" })), download: `${view.traceId}.json` }
    : { href: `/zipkin/api/v2/trace/${view.traceId}`, download: `${view.traceId}.json` };
  const logs = config.logsUrl && /^https?:/.test(config.logsUrl) && config.logsUrl.replaceAll("{traceId}", encodeURIComponent(view.traceId));
  return h("section", { class: "card trace-head" },
    h("div", { class: "bar-line" },
      h("h1", null, `${view.service || "unknown"}: ${view.name || "unknown"}`),
      h("span", { class: "space" }),
      logs && h("a", { class: "button quiet", href: logs, target: "_blank", rel: "noopener" }, "View logs"),
      h("a", { class: "button quiet", ...download }, "Download JSON")),
    h("dl", { class: "facts" },
      fact("Duration", duration(view.duration)),
      fact("Start", view.timestamp ? clock(view.timestamp) : "unknown"),
      fact("Services", String(view.services.length)),
      fact("Depth", String(view.depth)),
      fact("Spans", String(view.spanCount)),
      view.errors > 0 && fact("Failed", h("strong", { class: "bad" }, String(view.errors))),
      fact("Trace id", h("span", { class: "mono" }, view.traceId))),
    h("div", { class: "chips" }, view.services.map((service) => h("span", { class: "chip", style: hued(service.name) }, `${service.name} (${service.count})`))));
}

// visible lists the rows that no closed row hides.
function visible(state) {
  const list = [];
  let below = Infinity; // the depth from which rows are hidden
  state.view.rows.forEach((row, index) => {
    if (row.depth >= below) return;
    list.push(index);
    below = state.closed.has(index) ? row.depth + 1 : Infinity;
  });
  return list;
}

const percent = (state, us) => (100 * (us - state.from)) / (state.to - state.from);

function ruler(state) {
  return [0, 25, 50, 75].map((p) => h("span", { style: { left: `${p}%` } }, duration(state.from + ((state.to - state.from) * p) / 100)))
    .concat([0, 25, 50, 75].map((p) => h("i", { style: { left: `${p}%` } })));
}

function drawRow(state, index, choose, toggle) {
  const { view } = state;
  const row = view.rows[index];
  const closed = state.closed.has(index);
  const service = row.service || "unknown";
  const start = row.timestamp ? row.timestamp - view.timestamp : 0;
  const left = percent(state, start);
  const right = percent(state, start + row.duration);
  const inside = row.timestamp > 0 && right >= 0 && left <= 100;
  const clamp = (p) => Math.min(Math.max(p, 0), 100);
  const track = h("div", { class: "track" });
  for (const p of [0, 25, 50, 75, 100]) track.append(h("i", { class: "tick", style: { left: `${p}%` } }));
  if (inside) {
    track.append(h("div", { class: "span", style: { left: `${clamp(left)}%`, width: `${clamp(right) - clamp(left)}%` } }));
    for (const a of row.annotations) {
      const at = percent(state, a.timestamp - view.timestamp);
      if (!a.derived && at >= 0 && at <= 100) track.append(h("i", { class: "mark", title: a.value, style: { left: `${at}%` } }));
    }
    const before = clamp(right) > 85 && clamp(left) > 15;
    track.append(h("em", { class: before ? "before" : "", style: { left: `${before ? clamp(left) : clamp(right)}%` } }, row.duration ? duration(row.duration) : ""));
  }
  return h("div", {
    class: row.failed ? "row failed" : "row", role: "row", tabindex: 0, "data-index": index, "aria-level": row.depth + 1,
    "aria-selected": state.chosen === index && "true", style: { ...hued(service), "--indent": Math.min(row.depth, 24) },
    onclick: () => choose(index),
    onkeydown: (event) => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); choose(index); }
      if ((event.key === "ArrowLeft" && !closed && row.children) || (event.key === "ArrowRight" && closed)) toggle(index);
    },
  },
    h("div", { class: "label" },
      row.children > 0
        ? h("button", { type: "button", class: "toggle", tabindex: -1, "aria-label": closed ? "Expand" : "Collapse", onclick: (event) => { event.stopPropagation(); toggle(index); } }, closed ? "▸" : "▾")
        : h("span", { class: "toggle" }),
      h("span", { class: "service", title: service }, service),
      h("span", { class: "op", title: row.name }, row.failed ? "⚠ " : "", row.name || row.kind.toLowerCase() || "unknown")),
    track);
}

function moveByKey(event, rows) {
  const step = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
  const row = document.activeElement?.closest(".row");
  if (!step || !row || !rows.contains(row)) return;
  event.preventDefault();
  row[step]?.focus();
}

// minimap shows the whole trace; dragging over it chooses a range of time.
function minimap(state, draw) {
  const { view } = state;
  const total = Math.max(view.duration, 1);
  const range = h("b", { hidden: true });
  const map = h("div", { class: "minimap", title: "Drag to look at a range, double-click for the whole" });
  const step = Math.max(view.rows.length / 20, 1);
  view.rows.forEach((row, index) => {
    if (!row.timestamp || (view.rows.length > 400 && row.duration < total / 500)) return;
    map.append(h("i", { style: { ...hued(row.service || "unknown"), left: `${(100 * (row.timestamp - view.timestamp)) / total}%`, width: `${(100 * row.duration) / total}%`, top: `${2 + (index / step) * (40 / 20)}px` } }));
  });
  map.append(range);
  const share = (event) => {
    const box = map.getBoundingClientRect();
    return Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1);
  };
  const mark = () => {
    range.hidden = state.from === 0 && state.to === total;
    range.style.left = `${(100 * state.from) / total}%`;
    range.style.width = `${(100 * (state.to - state.from)) / total}%`;
  };
  let begin = null;
  map.addEventListener("pointerdown", (event) => { begin = share(event); map.setPointerCapture(event.pointerId); });
  map.addEventListener("pointermove", (event) => {
    if (begin === null) return;
    const end = share(event);
    if (Math.abs(end - begin) < 0.005) return;
    state.from = Math.min(begin, end) * total;
    state.to = Math.max(begin, end) * total;
    mark();
  });
  map.addEventListener("pointerup", () => { begin = null; draw(); });
  map.addEventListener("dblclick", () => { state.from = 0; state.to = total; mark(); draw(); });
  return map;
}

function details(view, row, close) {
  const offset = (us) => (us >= view.timestamp ? duration(us - view.timestamp) : `-${duration(view.timestamp - us)}`);
  const table = (rows) => h("table", null, h("tbody", null, rows));
  const line = (key, value, attributes) => h("tr", null, h("td", null, key), h("td", attributes, value));
  return [
    h("button", { type: "button", class: "quiet close", "aria-label": "Close", onclick: close }, "✕"),
    h("h2", null, row.name || "unknown"),
    h("span", { class: "chip", style: hued(row.service || "unknown") }, row.service || "unknown"),
    table([
      row.kind && line("Kind", row.kind.toLowerCase()),
      row.remote && line("Remote service", row.remote),
      row.timestamp > 0 && line("Start", `${offset(row.timestamp)} into the trace`),
      row.duration > 0 && line("Duration", duration(row.duration)),
      line("Span id", row.id, { class: "mono" }),
      line("Parent id", row.parentId ?? "none", { class: "mono" }),
    ].filter(Boolean)),
    row.annotations.length > 0 && h("h3", null, "Annotations"),
    row.annotations.length > 0 && table(row.annotations.map((a) =>
      h("tr", null, h("td", { class: "when", title: clock(a.timestamp) }, offset(a.timestamp)),
        h("td", null, a.derived ? h("strong", null, a.value) : a.value, h("div", { class: "dim mono" }, a.endpoint))))),
    h("h3", null, "Tags"),
    row.tags.length
      ? table(row.tags.map((tag) => line(tag.key, tag.value, { class: tag.key === "error" ? "mono bad" : "mono" })))
      : h("span", { class: "dim" }, "none"),
  ].filter(Boolean);
}
