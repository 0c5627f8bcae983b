// Dependencies: which service called which, as a graph from left to right.
import { endInput, endOf, getJSON, h, hued, lookbackSelect, message, s } from "./dom.js";
import { open } from "./page.js";

const WIDTH = 168, HEIGHT = 38, GAP_X = 84, GAP_Y = 34, MARGIN = 30;
const DEFAULT_LOOKBACK = 86400e3;

export async function showDependencies(config) {
  const params = new URLSearchParams(location.search);
  const lookback = Number(params.get("lookback")) || DEFAULT_LOOKBACK;
  const endTs = params.get("endTs") || String(Date.now());
  const links = await getJSON(`/zipkin/api/v2/dependencies?endTs=${encodeURIComponent(endTs)}&lookback=${lookback}`);
  const form = h("form", {
    class: "bar-line",
    onsubmit(event) {
      event.preventDefault();
      const next = new URLSearchParams({ lookback: event.target.elements.lookback.value });
      const end = endOf(event.target.elements.endTs.value);
      if (end) next.set("endTs", end);
      open(`/zipkin/dependency?${next}`);
    },
  },
    h("h1", null, "Dependencies"), h("span", { class: "space" }),
    h("label", { class: "dim" }, "Lookback ", lookbackSelect(lookback)),
    h("label", { class: "dim" }, "Until ", endInput(params.get("endTs"))),
    h("button", { type: "submit" }, "Run query"));
  if (!links.length) return h("div", null, form, message("No calls between services in this time."));
  return h("div", null, form, layout(links, config));
}

function layout(links, config) {
  const detail = h("aside", { class: "card detail" });
  const graph = h("div", { class: "card graph" });
  const names = [...new Set(links.flatMap((link) => [link.parent, link.child]))].sort();
  const { svg, focus } = drawGraph(names, links, config, (name) => choose(name));
  graph.append(svg);
  const choose = (name) => {
    focus(name);
    detail.replaceChildren(...(name ? serviceDetail(name, links, choose) : overview(names, links, choose)));
  };
  choose("");
  return h("div", { class: "graph-layout" }, graph, detail);
}

function overview(names, links, choose) {
  const calls = links.reduce((sum, link) => sum + link.callCount, 0);
  const errors = links.reduce((sum, link) => sum + (link.errorCount ?? 0), 0);
  return [
    h("h2", null, `${names.length} services`),
    h("div", { class: "dim" }, `${calls.toLocaleString()} calls, ${errors.toLocaleString()} failed`),
    h("h3", null, "Services"),
    h("div", { class: "chips" }, names.map((name) => h("button", { type: "button", class: "chip", style: hued(name), onclick: () => choose(name) }, name))),
  ];
}

function serviceDetail(name, links, choose) {
  const list = (title, found, other) => [
    h("h3", null, title),
    found.length
      ? h("table", null, h("tbody", null, found.map((link) => h("tr", null,
        h("td", null, h("button", { type: "button", class: "chip", style: hued(link[other]), onclick: () => choose(link[other]) }, link[other])),
        h("td", { class: "num" }, link.callCount.toLocaleString(), link.errorCount ? h("span", { class: "bad" }, ` ${link.errorCount.toLocaleString()} failed`) : "")))))
      : h("span", { class: "dim" }, "none"),
  ];
  return [
    h("h2", null, name),
    h("div", { class: "chips" },
      h("a", { class: "button quiet", href: `/zipkin/?serviceName=${encodeURIComponent(name)}` }, "Show traces"),
      h("button", { type: "button", class: "quiet", onclick: () => choose("") }, "All services")),
    ...list("Uses", links.filter((link) => link.parent === name), "child"),
    ...list("Used by", links.filter((link) => link.child === name), "parent"),
  ];
}

// columns puts each service right of all its callers. A call that closes a
// circle does not count.
function columns(names, links) {
  const called = new Set(links.filter((link) => link.parent !== link.child).map((link) => link.child));
  const calls = new Map(names.map((name) => [name, []]));
  for (const link of links) calls.get(link.parent).push(link.child);
  const order = []; // each service after those it calls
  const state = new Map();
  const visit = (name) => {
    state.set(name, "open");
    calls.set(name, calls.get(name).filter((child) => {
      if (!state.has(child)) visit(child);
      return state.get(child) !== "open";
    }));
    state.set(name, "done");
    order.push(name);
  };
  for (const name of [...names.filter((name) => !called.has(name)), ...names]) if (!state.has(name)) visit(name);
  const column = new Map(names.map((name) => [name, 0]));
  for (const name of order.reverse()) {
    for (const child of calls.get(name)) column.set(child, Math.max(column.get(child), column.get(name) + 1));
  }
  const list = [];
  for (const name of names) (list[column.get(name)] ??= []).push(name);
  return list;
}

// settle orders each column by where its neighbours are, to cross fewer lines.
function settle(list, links) {
  const row = new Map();
  const number = () => list.forEach((column) => column.forEach((name, i) => row.set(name, i - column.length / 2)));
  number();
  for (let round = 0; round < 6; round++) {
    for (const column of list) {
      const weight = new Map(column.map((name) => {
        const near = links.flatMap((link) => (link.parent === name ? [link.child] : link.child === name ? [link.parent] : [])).filter((other) => other !== name);
        return [name, near.length ? near.reduce((sum, other) => sum + row.get(other), 0) / near.length : row.get(name)];
      }));
      column.sort((a, b) => weight.get(a) - weight.get(b));
      number();
    }
  }
}

function drawGraph(names, links, config, choose) {
  const list = columns(names, links);
  settle(list, links);
  const tallest = Math.max(...list.map((column) => column.length));
  const height = tallest * (HEIGHT + GAP_Y) + 2 * MARGIN;
  const width = list.length * (WIDTH + GAP_X) - GAP_X + 2 * MARGIN;
  const position = new Map();
  list.forEach((column, x) => column.forEach((name, y) => position.set(name, {
    x: MARGIN + x * (WIDTH + GAP_X),
    y: height / 2 + (y - column.length / 2) * (HEIGHT + GAP_Y) + GAP_Y / 2,
  })));
  const most = Math.max(...links.map((link) => link.callCount));
  const edges = links.map((link) => ({ link, element: drawEdge(link, position, most, config) }));
  const nodes = names.map((name) => ({ name, element: drawNode(name, position.get(name), choose) }));
  const svg = s("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "Calls between services" },
    s("defs", null, s("marker", { id: "arrow", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 8, markerHeight: 8, markerUnits: "userSpaceOnUse", orient: "auto" }, s("path", { d: "M0 0 8 4 0 8z" }))),
    edges.map((edge) => edge.element), nodes.map((node) => node.element));
  const focus = (chosen) => {
    const near = new Set([chosen]);
    for (const { link, element } of edges) {
      const touches = !chosen || link.parent === chosen || link.child === chosen;
      element.classList.toggle("faded", !touches);
      if (touches) near.add(link.parent).add(link.child);
    }
    for (const { name, element } of nodes) {
      element.classList.toggle("faded", chosen !== "" && !near.has(name));
      element.classList.toggle("chosen", name === chosen);
    }
  };
  return { svg, focus };
}

function drawNode(name, { x, y }, choose) {
  const text = name.length > 18 ? `${name.slice(0, 17)}…` : name;
  return s("g", {
    class: "node", transform: `translate(${x} ${y})`, style: hued(name), tabindex: 0, role: "button", "aria-label": name,
    onclick: () => choose(name), onkeydown: (event) => event.key === "Enter" && choose(name),
  },
    s("title", null, name),
    s("rect", { width: WIDTH, height: HEIGHT, rx: 8 }),
    s("circle", { cx: 17, cy: HEIGHT / 2, r: 5 }),
    s("text", { x: 31, y: HEIGHT / 2 + 4.5 }, text));
}

// at is a coordinate of a Bézier curve.
const at = (t, a, b, c, d) => a * (1 - t) ** 3 + 3 * b * t * (1 - t) ** 2 + 3 * c * t * t * (1 - t) + d * t ** 3;

function drawEdge(link, position, most, config) {
  const from = position.get(link.parent), to = position.get(link.child);
  const y1 = from.y + HEIGHT / 2, y2 = to.y + HEIGHT / 2;
  let x1 = from.x + WIDTH, x2 = to.x, path, label;
  if (link.parent === link.child) { // a service that calls itself
    const x = from.x + WIDTH / 2;
    path = `M${x - 20} ${from.y}C${x - 30} ${from.y - 26} ${x + 30} ${from.y - 26} ${x + 20} ${from.y}`;
    label = { x, y: from.y - 22 };
  } else if (x2 > x1) {
    const bend = Math.max((x2 - x1) / 2, 40);
    path = `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`;
    const t = 0.62; // nearer to the callee, where lines have parted
    label = { x: at(t, x1, x1 + bend, x2 - bend, x2), y: at(t, y1, y1, y2, y2) - 5 };
  } else { // back to the left, below the boxes
    x1 = from.x + WIDTH / 2;
    x2 = to.x + WIDTH / 2;
    const low = Math.max(from.y, to.y) + HEIGHT + GAP_Y;
    path = `M${x1} ${from.y + HEIGHT}C${x1} ${low} ${x2} ${low} ${x2} ${to.y + HEIGHT}`;
    label = { x: (x1 + x2) / 2, y: low - 8 };
  }
  const errors = link.errorCount ?? 0;
  const rate = errors / link.callCount;
  const { lowErrorRate = 0.5, highErrorRate = 0.75 } = config.dependency ?? {};
  const kind = rate >= highErrorRate ? "edge fail" : rate >= lowErrorRate ? "edge warn" : "edge";
  return s("g", { class: kind },
    s("title", null, `${link.parent} → ${link.child}: ${link.callCount} calls, ${errors} failed`),
    s("path", { d: path, "stroke-width": 1 + 3 * Math.sqrt(link.callCount / most), "marker-end": "url(#arrow)" }),
    s("text", label, errors ? `${link.callCount} (${errors} failed)` : String(link.callCount)));
}
