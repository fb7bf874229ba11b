"use strict";
// The page of a server: a form for each model, made from its schema. Texts of models and answers are set as text, never
// as markup.

const KINDS = {
  csv: "text/csv", tsv: "text/tab-separated-values", txt: "text/plain", jsonl: "application/x-ndjson",
  wav: "audio/wav", flac: "audio/flac", ogg: "audio/ogg", png: "image/png",
  jpg: "image/jpeg", jpeg: "image/jpeg", webp: "image/webp", gif: "image/gif", mp4: "video/mp4", webm: "video/webm",
  avi: "video/x-msvideo",
};
const MOST_ROWS = 200; // of an answer's table that are shown

function make(name, attributes = {}, ...children) {
  const svg = ["svg", "path", "circle", "text", "title"].includes(name);
  const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

async function ask(path, options = {}) {
  const token = document.getElementById("token").value;
  const headers = { ...options.headers, ...(token ? { Authorization: `Bearer ${token}` } : {}) };
  const response = await fetch(path, { ...options, headers });
  if (response.ok) return response;
  if (response.status === 401) document.getElementById("who").hidden = false;
  throw new Error((await response.json()).error);
}

// One field for each option of a schema; its value is left out while the field is empty.
function optionFields(properties) {
  const fields = Object.entries(properties).filter(([name]) => name !== "source" && name !== "prompt");
  const box = make("div", { class: "options" });
  for (const [name, schema] of fields) {
    const values = schema.enum ?? ([schema.type].flat().includes("boolean") ? [true, false] : undefined);
    const field = values ? make("select", { name }, make("option", { value: "" })) : make("input", { name });
    for (const value of values ?? []) field.append(make("option", { value: value ?? "" }, String(value)));
    if (schema.default !== null && schema.default !== undefined) field.setAttribute("placeholder", schema.default);
    box.append(make("label", {}, name, make("br"), field, make("small", {}, schema.description ?? "")));
  }
  return box;
}

function optionsOf(form, properties) {
  const given = {};
  for (const [name, schema] of Object.entries(properties)) {
    const text = form.elements.namedItem(name)?.value; // elements.length is how many there are
    if (name === "source" || name === "prompt" || text === undefined || text === "") continue;
    const types = [schema.type].flat();
    if (types.includes("boolean")) given[name] = text === "true";
    else given[name] = types.includes("integer") || types.includes("number") ? Number(text) : text;
  }
  return given;
}

// What is typed: JSON where it begins like JSON, else a text a line.
function typed(text) {
  if (!/^\s*[[{]/.test(text)) return text.split("\n").filter((line) => line.trim());
  try {
    return JSON.parse(text);
  } catch {
    throw new Error("texts: expected JSON after the first bracket, received something else; check the brackets.");
  }
}

function download(name, text, kind) {
  const address = URL.createObjectURL(new Blob([text], { type: kind }));
  return make("a", { href: address, download: name }, `Download ${name}`);
}

function asCsv(answer) {
  const cell = (value) => {
    const text = value === null ? "" : typeof value === "object" ? JSON.stringify(value) : String(value);
    return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const rows = answer.rows.map((row) => answer.columns.map((name) => cell(row[name])).join(","));
  return [answer.columns.map(cell).join(","), ...rows].join("\n") + "\n";
}

function table(answer) {
  const shown = (value) =>
    typeof value === "number" && !Number.isInteger(value) ? value.toPrecision(5)
    : typeof value === "object" && value !== null ? JSON.stringify(value) : String(value ?? "");
  const head = make("tr", {}, ...answer.columns.map((name) => make("th", { scope: "col" }, name)));
  const rows = answer.rows.slice(0, MOST_ROWS)
    .map((row) => make("tr", {}, ...answer.columns.map((name) => make("td", {}, shown(row[name])))));
  const note = answer.rows.length > MOST_ROWS ? `The first ${MOST_ROWS} of ${answer.rows.length} rows.` : "";
  const scroll = make("div", { class: "wide", tabindex: "0", role: "region", "aria-label": "Answer" },
    make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows)));
  return make("div", {}, scroll, make("p", { class: "quiet" }, note));
}

// A forecast as a line with its widest interval; a value is shown where the pointer or the focus is.
function chart(answer) {
  const levels = answer.columns.filter((name) => /^q0?\.\d+$/.test(name));
  const rows = answer.rows.filter((row) => row.target === answer.rows[0].target && row.series === answer.rows[0].series);
  const [low, high] = [levels[0] ?? "point", levels[levels.length - 1] ?? "point"];
  const values = rows.flatMap((row) => [row[low], row[high], row.point]).filter((value) => value !== null);
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const [width, height, left, edge] = [640, 260, 60, 24];
  const x = (index) => left + (index * (width - left - edge)) / Math.max(1, rows.length - 1);
  const y = (value) => height - edge - ((value - least) * (height - 2 * edge)) / (most - least || 1);
  const path = (name, order) => order.map((i) => `${x(i).toFixed(1)},${y(rows[i][name]).toFixed(1)}`).join("L");
  const forward = rows.map((_, i) => i);
  const picture = make("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "Forecast" });
  picture.append(make("path", { class: "band", d: `M${path(high, forward)}L${path(low, [...forward].reverse())}Z` }));
  picture.append(make("path", { class: "line", d: `M${path("point", forward)}` }));
  for (const [i, row] of rows.entries()) {
    const label = `${row.time}: ${row.point.toPrecision(5)} (${row[low].toPrecision(5)} to ${row[high].toPrecision(5)})`;
    picture.append(make("circle", { class: "dot", cx: x(i), cy: y(row.point), r: 4, tabindex: "0", "aria-label": label },
      make("title", {}, label)));
  }
  for (const value of [least, most]) {
    picture.append(make("text", { x: 0, y: y(value) + 4 }, value.toPrecision(4)));
  }
  picture.append(make("text", { x: left, y: height - 4 }, String(rows[0].time)));
  picture.append(make("text", { x: width - edge, y: height - 4, "text-anchor": "end" }, String(rows[rows.length - 1].time)));
  return picture;
}

function requestText(path, body, kind, file) {
  const data = file ? `--data-binary @${file}` : `--data '${body.replaceAll("'", "'\\''")}'`;
  const curl = `curl ${location.origin}${path} -H 'Content-Type: ${kind}' ${data}`;
  const python = file
    ? `open(${JSON.stringify(file)}, "rb").read()` : `${JSON.stringify(body)}.encode()`;
  const code = "import urllib.request\n" +
    `request = urllib.request.Request(${JSON.stringify(location.origin + path)}, ${python},\n` +
    `                                 {"Content-Type": ${JSON.stringify(kind)}})\n` +
    "print(urllib.request.urlopen(request).read().decode())";
  return make("details", {}, make("summary", {}, "The request as curl and Python"),
    make("pre", {}, make("code", {}, curl)), make("pre", {}, make("code", {}, code)));
}

async function predict(model, form, result) {
  const properties = model.schema.properties;
  const options = optionsOf(form, properties);
  const file = form.elements.file.files[0];
  let [path, body, kind] = [`/models/${model.name}/predict`, "", "application/json"];
  if (file) {
    kind = KINDS[file.name.split(".").pop().toLowerCase()] ?? (file.type || "application/octet-stream");
    const query = new URLSearchParams(options).toString();
    path += query ? `?${query}` : "";
    body = file;
  } else {
    const text = form.elements.source.value;
    body = JSON.stringify({ ...(text.trim() ? { source: typed(text) } : {}), ...options });
  }
  const answer = await (await ask(path, { method: "POST", headers: { "Content-Type": kind }, body })).json();
  result.replaceChildren(...answer.notes.map((note) => make("p", { class: "quiet" }, note)));
  if (answer.columns.includes("point") && answer.rows.length) result.append(chart(answer));
  result.append(table(answer), make("p", {}, download("answer.csv", asCsv(answer), "text/csv"), " · ",
    download("answer.json", JSON.stringify(answer), "application/json")), requestText(path, body, kind, file?.name));
}

async function generate(model, form, result) {
  const path = `/models/${model.name}/generate`;
  const body = JSON.stringify({ prompt: form.elements.prompt.value, ...optionsOf(form, model.generate.properties) });
  const headers = { "Content-Type": "application/json" };
  const reader = (await ask(path, { method: "POST", headers, body })).body.getReader();
  const text = make("p", { class: "text" }, form.elements.prompt.value);
  const decoder = new TextDecoder();
  result.replaceChildren(text);
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    text.append(decoder.decode(part.value, { stream: true }));
  }
  result.append(make("p", {}, download("text.txt", text.textContent, "text/plain")),
    requestText(path, body, "application/json"));
}

function formOf(model, properties, fields, button, run) {
  const result = make("div", { "aria-live": "polite" });
  const form = make("form", {}, ...fields, optionFields(properties), make("button", {}, button));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const submit = form.querySelector("button");
    submit.disabled = true;
    result.replaceChildren(make("p", { class: "quiet" }, "The model computes."));
    try {
      await run(model, form, result);
    } catch (error) {
      result.replaceChildren(make("p", { class: "error", role: "alert" }, error.message));
    }
    submit.disabled = false;
  });
  form.addEventListener("dragover", (event) => event.preventDefault());
  form.addEventListener("drop", (event) => {
    if (!form.elements.file || !event.dataTransfer.files.length) return;
    event.preventDefault();
    form.elements.file.files = event.dataTransfer.files;
  });
  return [form, result];
}

function card(model) {
  const heading = make("h2", {}, model.name);
  const about = make("p", { class: "quiet" }, `Task: ${model.task}${model.streams ? ", reads streams" : ""}`);
  const section = make("section", { "data-model": model.name }, heading, about);
  if (model.generate) {
    const prompt = make("label", {}, "Prompt", make("textarea", { name: "prompt" }));
    section.append(...formOf(model, model.generate.properties, [prompt], "Write", generate));
  }
  const hint = model.streams ? "; nothing for what follows what the model has read" : "";
  const source = make("label", {}, `Texts, one a line, or JSON${hint}`, make("textarea", { name: "source" }));
  const file = make("label", {}, "or a file (drop it here)", make("br"), make("input", { name: "file", type: "file" }));
  section.append(...formOf(model, model.schema.properties, [source, file], "Predict", predict));
  return section;
}

async function show() {
  const main = document.getElementById("models");
  try {
    main.replaceChildren(...(await (await ask("/models")).json()).map(card));
  } catch (error) {
    main.replaceChildren(make("p", { class: "error", role: "alert" }, error.message));
  }
}

document.getElementById("token").addEventListener("change", show);
show();
