"use strict";
// What a form takes besides text: sound from the microphone, pictures and clips, picked items. `make` is in page.js.

function takeFile(form, files) {
  form.elements.file.files = files;
  showFile(form);
}

// The file that is chosen, so that one sees or hears what is sent.
function showFile(form) {
  const [box, file] = [form.querySelector(".preview"), form.elements.file.files[0]];
  for (const old of box.querySelectorAll("[src]")) URL.revokeObjectURL(old.src);
  box.replaceChildren();
  if (!file) return;
  const src = URL.createObjectURL(file);
  const kind = file.type.split("/")[0];
  if (kind === "image") box.append(make("img", { src, alt: `The picture ${file.name}` }));
  else if (kind === "audio") box.append(make("audio", { src, controls: "", "aria-label": `The sound ${file.name}` }));
  else if (kind === "video") box.append(make("video", { src, controls: "", muted: "", "aria-label": `The clip ${file.name}` }));
  box.append(make("p", { class: "quiet" }, `${file.name}, ${Math.ceil(file.size / 1024)} KiB`));
}

// A file in the form of WAV, 16 bit and one channel, of samples between -1 and 1.
function wavFile(samples, rate) {
  const view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const text = (at, word) => [...word].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  text(0, "RIFF"); view.setUint32(4, 36 + 2 * samples.length, true); text(8, "WAVEfmt ");
  view.setUint32(16, 16, true); view.setUint16(20, 1, true); view.setUint16(22, 1, true);
  view.setUint32(24, rate, true); view.setUint32(28, 2 * rate, true); view.setUint16(32, 2, true);
  view.setUint16(34, 16, true); text(36, "data"); view.setUint32(40, 2 * samples.length, true);
  samples.forEach((value, i) => view.setInt16(44 + 2 * i, 32767 * Math.max(-1, Math.min(1, value)), true));
  return new File([view.buffer], "recording.wav", { type: "audio/wav" });
}

// What the browser has recorded, as WAV: decoded by it, and its channels averaged.
async function asWav(blob) {
  const context = new AudioContext();
  const sound = await context.decodeAudioData(await blob.arrayBuffer());
  await context.close();
  const channels = Array.from({ length: sound.numberOfChannels }, (_, at) => sound.getChannelData(at));
  const mean = channels[0].map((_, i) => channels.reduce((sum, channel) => sum + channel[i], 0) / channels.length);
  return wavFile(mean, sound.sampleRate);
}

// A button that records until it is pressed again; the sound then stands in the form as its file.
function recorder() {
  const button = make("button", { type: "button", class: "record", "aria-pressed": "false" }, "Record");
  const state = make("span", { role: "status", class: "quiet" });
  let recording = null;

  async function start() {
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    const [parts, began] = [[], Date.now()];
    recording = new MediaRecorder(stream);
    const clock = setInterval(() => { state.textContent = `Recording, ${Math.round((Date.now() - began) / 1000)} s`; }, 500);
    recording.addEventListener("dataavailable", (event) => parts.push(event.data));
    recording.addEventListener("stop", async () => {
      clearInterval(clock);
      stream.getTracks().forEach((track) => track.stop());
      try {
        const files = new DataTransfer();
        files.items.add(await asWav(new Blob(parts)));
        takeFile(button.closest("form"), files.files);
        state.textContent = "Recorded.";
      } catch (error) {
        state.textContent = `The recording could not be read (${error.message}).`;
      }
    });
    recording.start();
    state.textContent = "Recording, 0 s";
  }

  button.addEventListener("click", async () => {
    if (recording?.state === "recording") {
      recording.stop();
    } else {
      try {
        await start();
      } catch (error) {
        state.textContent = `No microphone: ${error.message}`;
        return;
      }
    }
    const on = recording.state === "recording";
    button.setAttribute("aria-pressed", String(on));
    button.textContent = on ? "Stop" : "Record";
  });
  return make("div", { class: "row" }, button, state);
}

// Items that are picked one after the other; what is next is asked for at once.
function picker(model) {
  const list = `items-${model.name}`;
  const input = make("input", { list, "aria-label": "Item" });
  const options = make("datalist", { id: list }, ...model.items.map((item) => make("option", { value: item })));
  const add = make("button", { type: "button", class: "small" }, "Add");
  const chips = make("ul", { class: "chips", "aria-label": "Picked items" });
  const picked = [];

  function changed(form) {
    form.elements.source.value = picked.length ? JSON.stringify([picked]) : "";
    chips.replaceChildren(...picked.map((item, at) => {
      const remove = make("button", { type: "button", class: "small", "aria-label": `Remove ${item}` }, "×");
      remove.addEventListener("click", () => { picked.splice(at, 1); changed(form); });
      return make("li", {}, item, " ", remove);
    }));
    if (picked.length) form.requestSubmit();
  }

  const pick = () => {
    if (!input.value.trim()) return;
    picked.push(input.value.trim());
    input.value = "";
    changed(add.closest("form"));
    input.focus();
  };
  add.addEventListener("click", pick);
  input.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    pick();
  });
  return make("div", {}, make("p", {}, "Pick items, and see what is next"), make("div", { class: "row" }, input, add, options), chips);
}
