"use strict";
// Shows the values of a figure under the pointer, or at the place that the arrow keys move. Without this script
// the page lacks these values and nothing else.
const tip = document.createElement("div");
tip.className = "tip";
tip.hidden = true;
tip.setAttribute("role", "status");
document.body.append(tip);

const shown = (value) => (value === null ? "–" : value.toLocaleString("en", { maximumSignificantDigits: 5 }));
const moment = (days) => {
  const text = new Date(Math.round(days * 1440) * 60000).toISOString().slice(0, 16).replace("T", " ");
  return text.endsWith(" 00:00") ? text.slice(0, 10) : text;
};
const at = (curve, place) => (curve.s ? curve.s[0] + curve.s[1] * place : curve.x[place]);
const count = (curve) => (curve.s ? curve.s[2] : curve.x.length);

function nearest(curve, x) {
  let low = 0, high = count(curve) - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (at(curve, middle) < x) low = middle + 1; else high = middle;
  }
  return low > 0 && x - at(curve, low - 1) < at(curve, low) - x ? low - 1 : low;
}

function row(name, value, color) {
  const line = document.createElement("div");
  if (color) {
    const key = document.createElement("span");
    key.style.background = color === "ink" ? "currentcolor" : `var(--${color})`;
    line.append(key);
  }
  const strong = document.createElement("b");
  strong.textContent = value;
  line.append(name ? `${name} ` : "", strong);
  return line;
}

// What a collection says at a share of the plot's width and height: [heading, rows, share of the width].
function reading(values, right, down) {
  if (values.kind === "curves") {
    const [from, to] = values.x, x = from + right * (to - from);
    const hits = values.curves.filter(count).map((curve) => [curve, nearest(curve, x)]);
    const reach = 0.02 * (to - from);
    const near = hits.filter(([curve, place]) => Math.abs(at(curve, place) - x) <= reach + Math.abs(curve.s ? curve.s[1] : 0));
    if (!near.length) return null;
    const closest = near.reduce((a, b) => (Math.abs(at(b[0], b[1]) - x) < Math.abs(at(a[0], a[1]) - x) ? b : a));
    const place = at(...closest);
    const heading = values.texts.length ? values.texts[Math.round(place)] : values.time ? moment(place) : `${values.label} ${shown(place)}`;
    const same = near.filter(([curve, spot]) => Math.abs(at(curve, spot) - place) <= reach);
    return [heading, same.map(([curve, spot]) => row(curve.n,
      curve.z ? `${shown(curve.y[spot])} to ${shown(curve.z[spot])}` : shown(curve.y[spot]), curve.c)), (place - from) / (to - from)];
  }
  const column = Math.min(values.columns.length - 1, Math.floor(right * values.columns.length));
  const middle = (column + 0.5) / values.columns.length;
  if (values.kind === "bars") {
    return [values.columns[column], values.curves.map((bar) => row(bar.n, shown(bar.y[column]), bar.c)), middle];
  }
  const line = Math.min(values.rows.length - 1, Math.floor(down * values.rows.length));
  return [`${values.label} ${values.columns[column]}`, [row(`${values.side} ${values.rows[line]}:`, shown(values.cells[line][column]))], middle];
}

for (const plot of document.querySelectorAll(".plot")) {
  const values = JSON.parse(plot.querySelector("script").textContent);
  const cursor = document.createElement("i");
  cursor.hidden = true;
  plot.append(cursor);
  let right = 0.5, down = 0.5;
  const frame = () => {
    const svg = [...plot.querySelectorAll("svg")].find((picture) => picture.getBoundingClientRect().width > 0);
    const box = svg.getBoundingClientRect(), [x, y, w, h] = values.boxes[svg.classList.contains("narrow") ? "narrow" : "wide"];
    return [box.left + x * box.width, box.top + y * box.height, w * box.width, h * box.height];
  };
  const hide = () => { tip.hidden = cursor.hidden = true; };
  const show = () => {
    const [left, top, width, height] = frame(), found = reading(values, right, down);
    if (!found) return hide();
    const heading = document.createElement("div");
    heading.className = "at";
    heading.textContent = found[0];
    tip.replaceChildren(heading, ...found[1].slice(0, 12));
    tip.hidden = cursor.hidden = false;
    const x = left + found[2] * width, own = plot.getBoundingClientRect();
    Object.assign(cursor.style, { left: `${x - own.left}px`, top: `${top - own.top}px`, height: `${height}px` });
    const room = x + 14 + tip.offsetWidth < document.documentElement.clientWidth;
    const side = room ? x + 14 : Math.max(4, x - 14 - tip.offsetWidth);
    Object.assign(tip.style, { left: `${side + scrollX}px`, top: `${Math.max(4, top + 4) + scrollY}px` });
  };
  plot.addEventListener("pointermove", (event) => {
    const [left, top, width, height] = frame();
    right = (event.clientX - left) / width;
    down = (event.clientY - top) / height;
    if (right < 0 || right > 1 || down < 0 || down > 1) hide(); else show();
  });
  plot.addEventListener("pointerleave", hide);
  plot.addEventListener("blur", hide);
  plot.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (event.key === "Escape") return hide();
    if (!step) return;
    event.preventDefault();
    const longest = values.kind === "curves" ? Math.max(...values.curves.map(count), 2) - 1 : values.columns.length;
    right = Math.min(1, Math.max(0, right + step[0] / Math.min(longest, 200)));
    down = Math.min(0.999, Math.max(0, down + step[1] / (values.rows ? values.rows.length : 10)));
    show();
  });
}
