"use strict";
// The pictures of the page: forecasts with intervals, words that mattered, maps of attention. `make` is in page.js.

const [WIDTH, HEIGHT, EDGE] = [640, 300, 26]; // of a chart, in its own units
const LEFT = matchMedia("(max-width: 30rem)").matches ? 124 : 84; // before a chart, for numbers of nine signs
const HUES = 6; // colours of series, see page.css
const MOST_LINES = 12; // series that are drawn
const MOST_DOTS = 60; // steps of one series up to which each has a dot that takes the focus

const short = (value) => (value === null ? "none" : Number(value.toPrecision(5)).toString());

// The rows of an answer by target and series.
function seriesOf(answer) {
  const groups = new Map();
  for (const row of answer.rows) {
    const name = [answer.columns.includes("series") ? row.series : null, row.target].filter((part) => part != null).join(", ");
    if (!groups.has(name)) groups.set(name, []);
    groups.get(name).push(row);
  }
  return [...groups].slice(0, MOST_LINES).map(([name, rows], index) => ({ name, rows, hue: index % HUES, shown: true }));
}

// Lines with their widest interval. Series are switched by the legend; a part is chosen by dragging or by buttons; the
// pointer, or the arrow keys, read the values of one step.
function forecastChart(answer) {
  const levels = answer.columns.filter((name) => /^q0?\.\d+$/.test(name));
  const [low, high] = [levels[0] ?? "point", levels[levels.length - 1] ?? "point"];
  const series = seriesOf(answer);
  const steps = Math.max(...series.map((one) => one.rows.length));
  const state = { begin: 0, end: steps - 1, cursor: null };
  const svg = make("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": "Forecast", tabindex: "0" });
  const readout = make("p", { class: "readout", role: "status" });
  const buttons = make("div", { class: "row" });
  const button = (text, label, act) => {
    const made = make("button", { type: "button", class: "small", "aria-label": label }, text);
    made.addEventListener("click", () => { act(); draw(); });
    buttons.append(made);
  };
  const zoom = (begin, end) => {
    state.begin = Math.max(0, Math.min(begin, steps - 2));
    state.end = Math.min(steps - 1, Math.max(end, state.begin + 1));
  };
  const width = () => state.end - state.begin;
  button("+", "Zoom in", () => zoom(state.begin + Math.floor(width() / 4), state.end - Math.floor(width() / 4)));
  button("−", "Zoom out", () => zoom(state.begin - Math.ceil(width() / 2), state.end + Math.ceil(width() / 2)));
  button("◀", "Earlier", () => { const by = Math.min(state.begin, Math.ceil(width() / 2)); zoom(state.begin - by, state.end - by); });
  button("▶", "Later", () => { const by = Math.min(steps - 1 - state.end, Math.ceil(width() / 2)); zoom(state.begin + by, state.end + by); });
  button("All", "Show all steps", () => zoom(0, steps - 1));

  const x = (index) => LEFT + ((index - state.begin) * (WIDTH - LEFT - EDGE)) / Math.max(1, width());
  const indexAt = (event) => {
    const box = svg.getBoundingClientRect();
    const at = ((event.clientX - box.left) / box.width) * WIDTH;
    const index = state.begin + ((at - LEFT) * width()) / (WIDTH - LEFT - EDGE);
    return Math.max(state.begin, Math.min(state.end, Math.round(index)));
  };

  function draw() {
    const shown = series.filter((one) => one.shown);
    const parts = shown.map((one) => ({ ...one, part: one.rows.slice(state.begin, state.end + 1) }));
    const values = parts.flatMap(({ part }) => part.flatMap((row) => [row[low], row[high], row.point])).filter((v) => v !== null);
    const [least, most] = values.length ? [Math.min(...values), Math.max(...values)] : [0, 1];
    const y = (value) => HEIGHT - EDGE - ((value - least) * (HEIGHT - 2 * EDGE)) / (most - least || 1);
    svg.replaceChildren();
    for (const value of [least, (least + most) / 2, most]) {
      svg.append(make("line", { class: "grid", x1: LEFT, x2: WIDTH - EDGE, y1: y(value), y2: y(value) }));
      svg.append(make("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, value.toPrecision(4)));
    }
    for (const one of parts) svg.append(line(one, y));
    const first = parts[0]?.part ?? [];
    if (first.length) {
      svg.append(make("text", { x: LEFT, y: HEIGHT - 4 }, String(first[0].time)));
      svg.append(make("text", { x: WIDTH - EDGE, y: HEIGHT - 4, "text-anchor": "end" }, String(first[first.length - 1].time)));
    }
    if (state.cursor !== null) {
      svg.append(make("line", { class: "cursor", x1: x(state.cursor), x2: x(state.cursor), y1: EDGE, y2: HEIGHT - EDGE }));
    }
    buttons.hidden = steps < 3;
  }

  function line({ part, name, hue }, y) {
    const group = make("g", { class: `hue${hue}` });
    const whole = part.map((row, i) => [row, state.begin + i]).filter(([row]) => row.point !== null);
    const path = (column, rows) => rows.map(([row, i]) => `${x(i).toFixed(1)},${y(row[column] ?? row.point).toFixed(1)}`).join("L");
    if (!whole.length) return group;
    group.append(make("path", { class: "band", d: `M${path(high, whole)}L${path(low, [...whole].reverse())}Z` }));
    group.append(make("path", { class: "line", d: `M${path("point", whole)}` }));
    if (part.length > MOST_DOTS) return group;
    for (const [row, i] of whole) {
      const values = `${row.time}: ${short(row.point)} (${short(row[low])} to ${short(row[high])})`;
      const label = series.length > 1 ? `${name}, ${values}` : values;
      const attributes = { class: "dot", cx: x(i), cy: y(row.point), r: 4, "aria-label": label };
      if (series.length === 1) attributes.tabindex = "0";
      group.append(make("circle", attributes, make("title", {}, label)));
    }
    return group;
  }

  function read(index) {
    state.cursor = index;
    const shown = series.filter((one) => one.shown && one.rows[index]);
    const texts = shown.map(({ name, rows }) => {
      const row = rows[index];
      return `${series.length > 1 ? `${name} ` : ""}${short(row.point)} (${short(row[low])} to ${short(row[high])})`;
    });
    readout.textContent = shown.length ? `${shown[0].rows[index].time}: ${texts.join("; ")}` : "";
    draw();
  }

  let began = null;
  svg.addEventListener("pointerdown", (event) => { began = indexAt(event); });
  svg.addEventListener("pointermove", (event) => read(indexAt(event)));
  svg.addEventListener("pointerup", (event) => {
    const ended = indexAt(event);
    if (began !== null && Math.abs(ended - began) > 1) zoom(Math.min(began, ended), Math.max(began, ended));
    began = null;
    draw();
  });
  svg.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by || event.target !== svg) return;
    event.preventDefault();
    read(Math.max(state.begin, Math.min(state.end, state.cursor === null ? state.begin : state.cursor + by)));
  });
  draw();
  return make("figure", {}, svg, readout, buttons, legend(series, draw));
}

// A switch for each series, where there are several.
function legend(series, draw) {
  const box = make("div", { class: "row legend" });
  for (const one of series.length > 1 ? series : []) {
    const input = make("input", { type: "checkbox" });
    input.checked = true;
    input.addEventListener("change", () => { one.shown = input.checked; draw(); });
    box.append(make("label", { class: `hue${one.hue}` }, input, make("span", { class: "swatch" }), one.name || "series"));
  }
  return box;
}

// A text whose words are shaded by how much they mattered: for the answer, or against it, which is underlined too.
function words(row) {
  const shade = (token, weight) => {
    const style = `--share: ${Math.round(100 * Math.abs(weight))}%`;
    return make("span", { class: weight < 0 ? "against" : "for", style, title: `${token}: ${weight.toFixed(2)}` }, token);
  };
  const parts = row.tokens.flatMap((token, i) => [shade(token, row.weights[i]), " "]);
  return make("p", { class: "words" }, ...parts);
}

// Which words were read (columns) as each word was written (rows).
function attentionMap(row) {
  const head = make("tr", {}, make("td", {}), ...row.read.map((token) => make("th", { scope: "col" }, token)));
  const rows = row.written.map((token, i) => make("tr", {}, make("th", { scope: "row" }, token),
    ...row.read.map((read, j) => {
      const share = row.weights[i][j];
      const title = `${token} from ${read}: ${share.toFixed(2)}`;
      return make("td", { class: "cell", style: `--share: ${Math.round(100 * share)}%`, title, "aria-label": title });
    })));
  const table = make("table", { class: "attention" }, make("thead", {}, head), make("tbody", {}, ...rows));
  return make("div", { class: "wide", tabindex: "0", role: "region", "aria-label": "Attention" }, table);
}
