"use strict";
// The page of a server: a form for each model, made from its schema. Texts of models and answers are set as text, never
// as markup.

const KINDS = {
  csv: "text/csv", tsv: "text/tab-separated-values", txt: "text/plain", jsonl: "application/x-ndjson",
  wav: "audio/wav", flac: "audio/flac", ogg: "audio/ogg", png: "image/png",
  jpg: "image/jpeg", jpeg: "image/jpeg", webp: "image/webp", gif: "image/gif", mp4: "video/mp4", webm: "video/webm",
  avi: "video/x-msvideo",
};
const SOURCES = { // what the box of a form takes, by task
  forecast: "Numbers as a JSON list, one series, or rows as objects",
  anomaly: "Rows as JSON objects by column",
  recommend: "What somebody has taken, as a JSON list of lists",
  series: "Series as a JSON list, each a list of numbers or of readings, or rows as objects",
};
const ACCEPTED = { // files of the tasks that read nothing else
  speech: ".wav,.flac,.ogg", video: ".mp4,.webm,.avi,.gif", caption: ".png,.jpg,.jpeg,.webp,.gif",
};
const MOST_ROWS = 200; // of an answer's table that are shown
const LONG_TEXT = 24; // characters of a cell that stay on one line

// Elements are made, and their texts set, by this alone.
function make(name, attributes = {}, ...children) {
  const svg = ["svg", "g", "path", "circle", "line", "rect", "text", "title"].includes(name);
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
  const cell = (text) => make("td", text.length > LONG_TEXT ? { class: "long" } : {}, text);
  const head = make("tr", {}, ...answer.columns.map((name) => make("th", { scope: "col" }, name)));
  const rows = answer.rows.slice(0, MOST_ROWS)
    .map((row) => make("tr", {}, ...answer.columns.map((name) => cell(shown(row[name])))));
  const note = answer.rows.length > MOST_ROWS ? `The first ${MOST_ROWS} of ${answer.rows.length} rows.` : "";
  const scroll = make("div", { class: "wide", tabindex: "0", role: "region", "aria-label": "Answer" },
    make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows)));
  return make("div", {}, scroll, make("p", { class: "quiet" }, note));
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
  if (answer.columns.includes("point") && answer.rows.length) result.append(forecastChart(answer));
  if (model.explains && !file) result.append(await explanation(model, JSON.parse(body).source));
  result.append(table(answer), make("p", {}, download("answer.csv", asCsv(answer), "text/csv"), " · ",
    download("answer.json", JSON.stringify(answer), "application/json")), requestText(path, body, kind, file?.name));
}

// What mattered for the first answers; nothing where the library cannot say.
async function explanation(model, source) {
  const headers = { "Content-Type": "application/json" };
  const body = JSON.stringify({ source: source.slice(0, 5) });
  try {
    const answer = await (await ask(`/models/${model.name}/explain`, { method: "POST", headers, body })).json();
    const pictures = answer.rows.map((row) => (row.tokens ? words(row) : attentionMap(row)));
    const [heading, note] = model.task === "classify"
      ? ["What mattered", `The stronger its colour, the more a ${model.reads_series ? "step" : "word"} mattered; `
        + "underlined is evidence against the answer."]
      : ["Attention", "A row is a token that was written, a column one that was read; stronger colour is more attention."];
    return make("div", {}, make("h3", {}, heading), ...pictures, make("p", { class: "quiet" }, note));
  } catch (error) {
    return make("p", { class: "quiet" }, error.message);
  }
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
    const submit = form.querySelector("button:not([type])");
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
  for (const kind of ["dragenter", "dragleave", "drop"]) {
    form.addEventListener(kind, () => form.classList.toggle("over", kind === "dragenter"));
  }
  form.addEventListener("drop", (event) => {
    if (!form.elements.file || !event.dataTransfer.files.length) return;
    event.preventDefault();
    takeFile(form, event.dataTransfer.files);
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
  const source = make("label", {}, SOURCES[model.reads_series ? "series" : model.task] ?? "Texts, one a line, or JSON",
    model.streams ? "; nothing for what follows what the model has read" : "", make("textarea", { name: "source" }));
  const media = model.task in ACCEPTED;
  const file = make("label", {}, media ? "A file (drop it here)" : "or a file (drop it here)", make("br"),
    make("input", { name: "file", type: "file", accept: ACCEPTED[model.task] ?? "" }));
  source.hidden = media;
  const preview = make("div", { class: "preview" });
  const extras = [model.task === "speech" ? recorder() : "", model.items.length ? picker(model) : ""];
  const [form, result] = formOf(model, model.schema.properties, [...extras, source, file, preview], "Predict", predict);
  form.elements.file.addEventListener("change", () => showFile(form));
  section.append(form, result);
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
