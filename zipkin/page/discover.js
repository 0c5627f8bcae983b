// Discover: search for traces. The search lives in the address.
import { ago, clock, duration, endInput, endOf, getJSON, h, hued, lookbackSelect, message, moment, parseDuration } from "./dom.js";
import { open } from "./page.js";

const FIELDS = ["serviceName", "spanName", "remoteServiceName", "minDuration", "maxDuration", "annotationQuery", "lookback", "endTs", "limit", "sort", "only"];

export async function showDiscover(config) {
  if (!config.searchEnabled) return message("Search is switched off on this server. Enter a trace id above.");
  const params = new URLSearchParams(location.search);
  const lookback = Number(params.get("lookback")) || config.defaultLookback;
  const [form, results] = await Promise.all([searchForm(params, lookback, config), search(params, lookback, config)]);
  return h("div", null, form, results);
}

async function searchForm(params, lookback, config) {
  const services = await getJSON("/zipkin/api/v2/services");
  const service = params.get("serviceName") ?? "";
  const input = (name, text, attributes) =>
    h("label", null, text, h("input", { name, value: params.get(name) ?? "", autocomplete: "off", spellcheck: "false", ...attributes }));
  const serviceSelect = select("serviceName", services, service, "any service");
  const names = h("datalist", { id: "names" });
  const remotes = h("datalist", { id: "remotes" });
  const loadNames = async () => {
    const chosen = encodeURIComponent(serviceSelect.value);
    for (const [list, path] of [[names, "spans"], [remotes, "remoteServices"]]) {
      const values = serviceSelect.value ? await getJSON(`/zipkin/api/v2/${path}?serviceName=${chosen}`) : [];
      list.replaceChildren(...values.map((value) => h("option", { value })));
    }
  };
  serviceSelect.addEventListener("change", () => loadNames().catch(() => {})); // suggestions are not needed to search
  loadNames().catch(() => {});
  const tags = h("datalist", { id: "tags" });
  suggestTags(tags).catch(() => {});

  const problem = h("span", { class: "bad", role: "alert" });
  return h("form", {
    class: "card search",
    onsubmit(event) {
      event.preventDefault();
      try {
        open(`/zipkin/?${readForm(event.target)}`);
      } catch (error) {
        problem.textContent = error.message;
      }
    },
  },
    h("label", null, "Service", serviceSelect),
    input("spanName", "Span name", { list: "names", placeholder: "any" }),
    input("remoteServiceName", "Remote service", { list: "remotes", placeholder: "any" }),
    input("minDuration", "Min duration", { placeholder: "10ms" }),
    input("maxDuration", "Max duration", { placeholder: "1s" }),
    input("limit", "Limit", { type: "number", min: 1, max: 1000, value: params.get("limit") ?? config.queryLimit }),
    h("label", { class: "wide" }, "Tags and annotations",
      h("input", { name: "annotationQuery", list: "tags", value: params.get("annotationQuery") ?? "", placeholder: "http.method=GET and error", spellcheck: "false", autocomplete: "off" })),
    h("label", null, "Lookback", lookbackSelect(lookback)),
    h("label", null, "Until", endInput(params.get("endTs"))),
    h("div", { class: "go" }, problem, h("button", { type: "submit" }, "Run query")),
    names, remotes, tags);
}

async function suggestTags(list) {
  for (const key of await getJSON("/zipkin/api/v2/autocompleteKeys")) {
    const values = await getJSON(`/zipkin/api/v2/autocompleteValues?key=${encodeURIComponent(key)}`);
    list.append(...values.map((value) => h("option", { value: `${key}=${value}` })));
  }
}

function select(name, values, chosen, none) {
  const all = chosen && !values.includes(chosen) ? [chosen, ...values] : values;
  return h("select", { name }, h("option", { value: "" }, none), all.map((value) => h("option", { value, selected: value === chosen }, value)));
}

// readForm turns the form into the address of its search.
function readForm(form) {
  const params = new URLSearchParams();
  for (const name of FIELDS) {
    const value = (form.elements[name]?.value ?? "").trim();
    if (value) params.set(name, name === "endTs" ? endOf(value) : value);
  }
  if (params.has("minDuration")) parseDuration(params.get("minDuration"));
  if (params.has("maxDuration")) parseDuration(params.get("maxDuration"));
  return params;
}

async function search(params, lookback, config) {
  const query = new URLSearchParams({ lookback, limit: params.get("limit") ?? config.queryLimit });
  for (const name of ["serviceName", "spanName", "remoteServiceName", "annotationQuery", "endTs"]) {
    if (params.get(name)) query.set(name, params.get(name));
  }
  let traces;
  try {
    if (params.get("minDuration")) query.set("minDuration", parseDuration(params.get("minDuration")));
    if (params.get("maxDuration")) query.set("maxDuration", parseDuration(params.get("maxDuration")));
    if (query.has("maxDuration") && !query.has("minDuration")) query.set("minDuration", 1);
    traces = await getJSON(`/zipkin/view/summaries?${query}`);
  } catch (error) {
    return message(error.message, true);
  }
  if (!traces.length) return message("No traces match. Try a longer lookback or fewer conditions.");
  return results(traces, params);
}

const SORTS = {
  newest: ["Newest first", (a, b) => b.timestamp - a.timestamp],
  oldest: ["Oldest first", (a, b) => a.timestamp - b.timestamp],
  longest: ["Longest first", (a, b) => b.duration - a.duration],
  shortest: ["Shortest first", (a, b) => a.duration - b.duration],
  spans: ["Most spans first", (a, b) => b.spanCount - a.spanCount],
};

function results(traces, params) {
  const change = (name, value) => {
    const next = new URLSearchParams(params);
    if (value) next.set(name, value);
    else next.delete(name);
    open(`/zipkin/?${next}`, { replace: true });
  };
  const only = params.get("only");
  const sort = SORTS[params.get("sort")] ? params.get("sort") : "newest";
  const services = new Set(traces.flatMap((trace) => trace.services.map((service) => service.name)));
  const shown = traces.filter((trace) => !only || trace.services.some((service) => service.name === only)).sort(SORTS[sort][1]);
  const longest = Math.max(...traces.map((trace) => trace.duration), 1);
  return h("section", null,
    h("div", { class: "bar-line" },
      h("strong", null, `${shown.length} trace${shown.length === 1 ? "" : "s"}`),
      h("div", { class: "chips" }, [...services].sort().slice(0, 20).map((name) =>
        h("button", { type: "button", class: "chip", style: hued(name), "aria-pressed": String(name === only), onclick: () => change("only", name === only ? "" : name) }, name))),
      h("span", { class: "space" }),
      h("select", { "aria-label": "Order", onchange: (event) => change("sort", event.target.value) },
        Object.entries(SORTS).map(([name, [text]]) => h("option", { value: name, selected: name === sort }, text)))),
    h("div", { class: "card traces" }, h("table", null,
      h("thead", null, h("tr", null, h("th", null, "Root"), h("th", null, "Start"), h("th", { class: "num" }, "Spans"), h("th", null, "Services"), h("th", null, "Duration"))),
      h("tbody", null, shown.map((trace) => traceRow(trace, longest))))));
}

function traceRow(trace, longest) {
  const url = `/zipkin/traces/${trace.traceId}`;
  return h("tr", { class: trace.errors ? "failed" : "", onclick: (event) => event.target.closest("a") || open(url) },
    h("td", null,
      h("a", { href: url, class: "name" }, `${trace.service || "unknown"}: ${trace.name || "unknown"}`),
      h("div", { class: "dim mono" }, trace.traceId)),
    h("td", { title: clock(trace.timestamp) }, trace.timestamp ? [h("div", null, ago(trace.timestamp)), h("div", { class: "dim mono" }, moment(trace.timestamp))] : "unknown"),
    h("td", { class: "num" }, String(trace.spanCount), trace.errors > 0 && h("div", { class: "bad" }, `${trace.errors} failed`)),
    h("td", null, h("div", { class: "chips" }, trace.services.map((service) =>
      h("span", { class: "chip", style: hued(service.name) }, `${service.name} (${service.count})`)))),
    h("td", { class: "duration" }, duration(trace.duration),
      h("div", { class: "meter" }, h("i", { style: { width: `${Math.max((100 * trace.duration) / longest, 0.5)}%` } }))));
}
