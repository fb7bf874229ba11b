// The live cell: runs a trained network step by step and shows every gate and state. Texts are set as text, never as
// markup.

const LONGEST = 48; // steps that are shown
const BEGIN = 40; // steps of a drawn line
const NAMES = {
  lstm: { i: "i, input gate", f: "f, forget gate", g: "g, candidate", o: "o, output gate", c: "c, cell state", h: "h, output" },
  gru: { r: "r, reset gate", z: "z, update gate", n: "n, candidate", h: "h, state" },
  rnn: { n: "n, candidate", h: "h, state" },
};
const SIGNED = { g: true, n: true, c: true, h: true }; // from -1 to 1 and beyond; gates are from 0 to 1

const sum = (weights, values) => weights.reduce((total, weight, k) => total + weight * values[k], 0);

// All steps of a network: `{input, gates, states, outputs}` each, lists of numbers by letter. Inputs are numbers of
// characters, or values; `set(t, unit)` gives the gates that are set by hand.
function run(kind, name, inputs, set = () => ({})) {
  const { units, cells } = MODELS[kind];
  const model = cells[name];
  const { gates, states } = CELLS[name];
  let state = Object.fromEntries([...states].map((letter) => [letter, new Array(units).fill(0)]));
  return inputs.map((input, t) => {
    const x = model.W.map((row, k) => model.bx[k] + (kind === "text" ? row[input] : row[0] * input));
    const r = model.R.map((row, k) => model.br[k] + sum(row, state.h));
    const blank = (letters) => Object.fromEntries([...letters].map((letter) => [letter, []]));
    const step = { input, gates: blank(gates), states: blank(states) };
    for (let unit = 0; unit < units; unit += 1) {
      const part = (list) => Object.fromEntries([...gates].map((letter, k) => [letter, list[k * units + unit]]));
      const old = Object.fromEntries([...states].map((letter) => [letter, state[letter][unit]]));
      const result = STEPS[name](part(x), part(r), old, {}, set(t, unit));
      for (const letter of gates) step.gates[letter].push(result.gates[letter]);
      for (const letter of states) step.states[letter].push(result.states[letter]);
    }
    state = step.states;
    step.outputs = model.V.map((row, k) => model.bv[k] + sum(row, state.h));
    return step;
  });
}

function softmax(scores) {
  const top = Math.max(...scores);
  const parts = scores.map((score) => Math.exp(score - top));
  const total = parts.reduce((a, b) => a + b, 0);
  return parts.map((part) => part / total);
}

function codes(text) {
  return [...text].slice(0, LONGEST).map((character) => {
    const code = MODELS.alphabet.indexOf(character);
    return code < 0 ? MODELS.alphabet.indexOf(" ") : code;
  });
}

globalThis.learn = { run, codes, softmax, MODELS, CELLS };

// ---- the page

const find = (id) => document.getElementById(id);
const now = { kind: "text", cell: "lstm", series: [], step: 0, unit: 0, hand: [], playing: null, steps: [] };
const length = () => now.steps.length;
const shown = (character) => (character === " " ? "␣" : character);

function make(name, properties = {}, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

function shape(name) {
  const value = {
    wave: (t) => 0.8 * Math.sin(t / 2.2),
    square: (t) => (Math.floor(t / 6) % 2 ? -0.7 : 0.7),
    pulse: (t) => (t >= 4 && t < 6 ? 0.9 : 0),
  }[name];
  now.series = Array.from({ length: BEGIN }, (_, t) => value(t));
}

// Gates by hand: a list of {letter, value, scope, step, unit}, later ones first.
function setOf(t, unit) {
  const set = {};
  for (const { letter, value, scope, step, alone } of now.hand) {
    const here = scope === "all" || (scope === "one" ? t === step : t >= step);
    if (here && (alone === null || alone === unit)) set[letter] = value;
  }
  return set;
}

function compute() {
  const text = find("learn-text").value.toLowerCase();
  const inputs = now.kind === "text" ? codes(text) : now.series;
  const strange = now.kind === "text" ? [...new Set(text)].filter((c) => !MODELS.alphabet.includes(c)) : [];
  find("learn-note").textContent = strange.length
    ? `${strange.join(" ")} ${strange.length > 1 ? "are" : "is"} read as a blank: the network knows ${[...MODELS.alphabet].map(shown).join("")}.`
    : "";
  now.steps = run(now.kind, now.cell, inputs.length ? inputs : [MODELS.alphabet.indexOf(" ")], setOf);
  now.step = Math.min(now.step, length() - 1);
  now.unit = Math.min(now.unit, MODELS[now.kind].units - 1);
}

function handControls() {
  const box = find("learn-gates");
  box.replaceChildren();
  const gates = [...CELLS[now.cell].gates].filter((letter) => !SIGNED[letter]);
  for (const letter of gates) {
    const choice = make("select", { name: letter });
    for (const [value, text] of [["", "as computed"], ["0", "0"], ["1", "1"]]) choice.append(make("option", { value }, text));
    choice.addEventListener("change", () => {
      now.hand = now.hand.filter((rule) => rule.letter !== letter);
      const alone = find("learn-alone").checked ? now.unit : null;
      if (choice.value) {
        now.hand.push({ letter, value: Number(choice.value), scope: find("learn-scope").value, step: now.step, alone });
      }
      update();
    });
    box.append(make("label", {}, `${letter} `, choice));
  }
  find("learn-hand").hidden = gates.length === 0;
}

function describeHand() {
  const where = { one: (t) => `at step ${t}`, from: (t) => `from step ${t} on`, all: () => "at every step" };
  return now.hand.map(({ letter, value, scope, step, alone }) =>
    `${letter} is held at ${value} ${where[scope](step + 1)}${alone === null ? "" : ` in unit ${alone + 1}`}. `).join("");
}

function inputName(step) {
  return now.kind === "text" ? `“${shown(MODELS.alphabet[step.input])}”` : step.input.toFixed(2);
}

function showPrediction() {
  const step = now.steps[now.step];
  const box = find("learn-prediction");
  box.replaceChildren();
  let expected = step.outputs[0]?.toFixed(2);
  if (now.kind === "text") {
    const shares = softmax(step.outputs);
    const best = shares.map((share, k) => [share, k]).sort((a, b) => b[0] - a[0]).slice(0, 5);
    expected = best.slice(0, 2).map(([share, k]) => `“${shown(MODELS.alphabet[k])}” (${(100 * share).toFixed(0)} %)`).join(" or ");
    const brackets = [..."}])"].map((c) => MODELS.alphabet.indexOf(c));
    const bars = make("div", { className: "bars" });
    for (const [share, k] of [...best, ...brackets.filter((k) => !best.some((b) => b[1] === k)).map((k) => [shares[k], k])]) {
      const bar = make("div");
      bar.style.width = `${100 * share}%`;
      bars.append(make("code", {}, shown(MODELS.alphabet[k])), bar, make("span", {}, `${(100 * share).toFixed(1)} %`));
    }
    box.append(bars);
  }
  const means = [...CELLS[now.cell].gates].filter((letter) => !SIGNED[letter]).map((letter) => {
    const values = step.gates[letter];
    return `${letter} ${(values.reduce((a, b) => a + b, 0) / values.length).toFixed(2)}`;
  });
  const middle = means.length ? ` Gates on average: ${means.join(", ")}.` : "";
  find("learn-said").textContent =
    `Step ${now.step + 1} of ${length()} reads ${inputName(step)}.${middle} Expected next: ${expected}. ${describeHand()}`;
}

function paint(canvas, columns, signed) {
  const rows = columns[0].length;
  canvas.width = columns.length;
  canvas.height = rows;
  canvas.style.height = `${rows * (rows > 12 ? 4 : 8)}px`;
  const context = canvas.getContext("2d");
  const picture = context.createImageData(columns.length, rows);
  columns.forEach((values, t) => values.forEach((value, unit) => {
    const at = 4 * (unit * columns.length + t);
    const strength = Math.min(1, Math.abs(value) / (signed ? 1.2 : 1));
    picture.data.set(value >= 0 ? [35, 130, 215] : [232, 119, 34], at);
    picture.data[at + 3] = 255 * strength;
  }));
  context.putImageData(picture, 0, 0);
}

function showMaps() {
  const box = find("learn-maps");
  box.replaceChildren();
  box.style.minWidth = `${13 * length()}px`;
  const tape = make("div", { className: "tape" });
  now.steps.forEach((step, t) => {
    const label = now.kind === "text" ? shown(MODELS.alphabet[step.input]) : (t + 1) % 5 ? "·" : String(t + 1);
    const cell = make("span", { className: t === now.step ? "now" : "", textContent: label });
    cell.addEventListener("click", () => go(t));
    tape.append(cell);
  });
  box.append(tape);
  const { gates, states } = CELLS[now.cell];
  const parts = [...[...gates].map((letter) => ["gates", letter]), ...[...states].reverse().map((letter) => ["states", letter])];
  for (const [part, letter] of parts) {
    const canvas = make("canvas");
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `${NAMES[now.cell][letter]}: a row a unit, a column a step`);
    paint(canvas, now.steps.map((step) => step[part][letter]), SIGNED[letter]);
    canvas.addEventListener("click", (event) => {
      const place = canvas.getBoundingClientRect();
      now.unit = Math.min(canvas.height - 1, Math.floor(((event.clientY - place.top) / place.height) * canvas.height));
      go(Math.min(length() - 1, Math.floor(((event.clientX - place.left) / place.width) * length())));
    });
    const column = make("i"), row = make("i");
    Object.assign(column.style, { left: `${(100 * now.step) / length()}%`, width: `${100 / length()}%`, top: 0, bottom: 0 });
    Object.assign(row.style, { top: `${(100 * now.unit) / canvas.height}%`, height: `${100 / canvas.height}%`, left: 0, right: 0, opacity: 0.45 });
    box.append(make("div", { className: "map-name" }, NAMES[now.cell][letter]), make("div", { className: "map" }, canvas, column, row));
  }
  const frame = box.parentElement;
  const left = (now.step / length()) * box.scrollWidth;
  if (left < frame.scrollLeft || left > frame.scrollLeft + frame.clientWidth - 20) frame.scrollLeft = left - frame.clientWidth / 2;
}

function showCell() {
  const step = now.steps[now.step];
  for (const drawing of document.querySelectorAll("#learn-cells [data-cell]")) {
    drawing.hidden = drawing.dataset.cell !== now.cell;
    for (const place of drawing.querySelectorAll("[data-value]")) {
      const letter = place.dataset.value;
      const values = step.gates[letter] ?? step.states[letter];
      if (!drawing.hidden) place.textContent = values[now.unit].toFixed(2);
    }
  }
}

function showPad() {
  if (now.kind !== "series") return;
  const pad = find("learn-pad");
  const x = (t) => ((t + 0.5) / now.series.length) * 600;
  const y = (value) => 80 - 72 * Math.max(-1.1, Math.min(1.1, value));
  const svg = (name, attributes) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  };
  const line = (values, from) => "M" + values.map((value, t) => `${x(t + from).toFixed(1)} ${y(value).toFixed(1)}`).join("L");
  const expected = now.steps.map((step) => step.outputs[0]);
  pad.replaceChildren(
    svg("path", { class: "grid", d: "M0 80H600" }),
    svg("path", { class: "curve lstm", d: line(now.series, 0) }),
    svg("path", { class: "curve gru after", d: line(expected.slice(0, -1), 1) }),
    svg("circle", { cx: x(now.step), cy: y(now.series[now.step]), r: 5 }),
  );
  const title = svg("title", {});
  title.textContent = "blue: the line; orange: what was expected of each step";
  pad.append(title);
}

function show() {
  const slider = find("learn-step");
  slider.max = length();
  slider.value = now.step + 1;
  find("learn-unit").max = MODELS[now.kind].units;
  find("learn-unit").value = now.unit + 1;
  find("learn-text-field").hidden = now.kind !== "text";
  find("learn-series-field").hidden = now.kind !== "series";
  showPrediction();
  showMaps();
  showCell();
  showPad();
}

function update() {
  compute();
  show();
}

function go(step) {
  now.step = Math.max(0, Math.min(length() - 1, step));
  show();
}

function play() {
  const button = document.querySelector("[data-go=play]");
  if (now.playing !== null) {
    clearInterval(now.playing);
    now.playing = null;
  } else {
    if (now.step === length() - 1) go(0);
    now.playing = setInterval(() => {
      if (now.step >= length() - 1) play();
      else go(now.step + 1);
    }, 450);
  }
  button.textContent = now.playing === null ? "play" : "pause";
  button.setAttribute("aria-label", now.playing === null ? "Play" : "Pause");
}

function draw(event) {
  const pad = find("learn-pad");
  const place = pad.getBoundingClientRect();
  const step = Math.floor(((event.clientX - place.left) / place.width) * now.series.length);
  if (step < 0 || step >= now.series.length) return;
  now.series[step] = Math.max(-1.1, Math.min(1.1, ((80 - ((event.clientY - place.top) / place.height) * 160) / 72)));
  now.step = step;
  update();
}

function listen() {
  for (const field of document.querySelectorAll("#learn-live input[type=radio]")) {
    field.addEventListener("change", () => {
      now[field.name === "learn-kind" ? "kind" : "cell"] = field.value;
      now.hand = [];
      handControls();
      if (field.name === "learn-kind") now.step = LONGEST;
      update();
    });
  }
  find("learn-text").addEventListener("input", () => {
    now.step = LONGEST;
    update();
  });
  find("learn-step").addEventListener("input", (event) => go(Number(event.target.value) - 1));
  find("learn-unit").addEventListener("input", (event) => {
    const units = MODELS[now.kind].units;
    now.unit = Math.max(0, Math.min(units - 1, Math.floor(Number(event.target.value) || 1) - 1));
    show();
  });
  const moves = { first: () => go(0), back: () => go(now.step - 1), on: () => go(now.step + 1), last: () => go(length() - 1), play };
  for (const button of document.querySelectorAll("#learn-live [data-go]")) button.addEventListener("click", moves[button.dataset.go]);
  for (const button of document.querySelectorAll("#learn-live [data-shape]")) {
    button.addEventListener("click", () => {
      shape(button.dataset.shape);
      update();
    });
  }
  const pad = find("learn-pad");
  pad.addEventListener("pointerdown", (event) => {
    pad.setPointerCapture(event.pointerId);
    draw(event);
  });
  pad.addEventListener("pointermove", (event) => event.buttons && draw(event));
  pad.addEventListener("keydown", (event) => {
    const change = { ArrowUp: 0.1, ArrowDown: -0.1 }[event.key];
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (change === undefined && move === undefined) return;
    event.preventDefault();
    if (change !== undefined) now.series[now.step] = Math.max(-1.1, Math.min(1.1, now.series[now.step] + change));
    else now.step = Math.max(0, Math.min(length() - 1, now.step + move));
    update();
  });
}

function begin() {
  if (!find("learn-live")) return;
  find("learn-live").hidden = false;
  shape("wave");
  now.step = LONGEST;
  handControls();
  listen();
  update();
}

if (typeof document !== "undefined") begin();
