"use strict";
const at = id => document.getElementById(id);
const made = (kind, text, name) => {
  const element = document.createElement(kind);
  if (text !== undefined) element.textContent = text;
  if (name) element.className = name;
  return element;
};
const off = new Set();  // classes that are not shown
let info = null, file = null, found = null, shown = [], request = null, url = "";

function ink(color) {  // black or white, whichever is read better on a colour
  const [r, g, b] = [1, 3, 5].map(i => parseInt(color.slice(i, i + 2), 16));
  return 0.299 * r + 0.587 * g + 0.114 * b > 130 ? "#000" : "#fff";
}

function paint(element, label) {
  const color = info.colors[label];
  element.style.setProperty("--c", color);
  element.style.setProperty("--on", ink(color));
  return element;
}

function tell(text) { at("status").textContent = text; }

function complain(text) {
  at("problem").textContent = text;
  at("problem").hidden = !text;
}

function json() {
  return JSON.stringify({
    source: file.name, checkpoint: found.checkpoint, width: found.width,
    height: found.height, threshold: Number(at("threshold").value),
    detections: shown}, null, 1);
}

function light(index) {
  [...at("boxes").children].forEach((box, i) => {
    box.classList.toggle("lit", i === index);
    box.classList.toggle("dim", index >= 0 && i !== index);
  });
  [...at("rows").children].forEach((row, i) =>
    row.classList.toggle("lit", i === index));
}

function lightable(element, index) {
  element.addEventListener("pointerenter", () => light(index));
  element.addEventListener("pointerleave", () => light(-1));
  return element;
}

function boxOf(detection, index) {
  const [x1, y1, x2, y2] = detection.box, {width, height} = found;
  const box = paint(made("div", undefined, "box"), detection.label);
  box.style.left = `${100 * x1 / width}%`;
  box.style.top = `${100 * y1 / height}%`;
  box.style.width = `${100 * (x2 - x1) / width}%`;
  box.style.height = `${100 * (y2 - y1) / height}%`;
  box.append(made("span", `${detection.name} ${detection.score.toFixed(2)}`));
  return lightable(box, index);
}

function placeLabels() {  // in pixels of the screen, once the boxes are on the page
  const {clientWidth, clientHeight} = at("view");
  const [right, down] = [clientWidth / found.width, clientHeight / found.height];
  const labels = [...at("boxes").children].map(box => box.firstChild);
  const edges = shown.map(({box: [x1, y1, x2, y2]}) =>
    [x1 * right, y1 * down, x2 * right, y2 * down]);
  const sizes = labels.map(label => [label.offsetWidth, label.offsetHeight]);
  labelPlaces(edges, sizes, clientWidth, clientHeight).forEach(([left, top], i) => {
    labels[i].style.left = `${left - edges[i][0] - 2}px`;  // within the box's border
    labels[i].style.top = `${top - edges[i][1] - 2}px`;
  });
}

function rowOf(detection, index) {
  const row = made("tr"), name = made("td");
  name.title = detection.name;
  name.append(paint(made("i"), detection.label), ` ${detection.name}`);
  row.append(name, made("td", detection.score.toFixed(3), "n"));
  for (const edge of detection.box) row.append(made("td", edge.toFixed(0), "n"));
  return lightable(row, index);
}

function chips(above) {
  const counts = new Map();
  for (const {label} of above) counts.set(label, (counts.get(label) || 0) + 1);
  for (const label of off) if (!counts.has(label)) counts.set(label, 0);
  const focused = document.activeElement && document.activeElement.dataset.label;
  at("classes").replaceChildren(...[...counts.keys()].sort((a, b) => a - b).map(
    label => {
      const chip = made("button", undefined, "chip");
      chip.type = "button";
      chip.dataset.label = label;
      chip.ariaPressed = String(!off.has(label));
      chip.append(paint(made("i"), label),
        `${info.classes[label]} ${counts.get(label)}`);
      chip.addEventListener("click", () => {
        if (!off.delete(label)) off.add(label);
        render();
      });
      return chip;
    }));
  const again = [...at("classes").children].find(c => c.dataset.label === focused);
  if (again) again.focus();
}

function render() {
  const threshold = Number(at("threshold").value);
  at("value").textContent = threshold.toFixed(2);
  if (!found) return;
  const above = found.detections.filter(each => each.score > threshold);
  shown = above.filter(each => !off.has(each.label));
  chips(above);
  at("boxes").replaceChildren(...shown.map(boxOf));
  [...at("boxes").children].forEach((box, i, all) =>
    // The labels are above all boxes, so that no line crosses them, the best on top.
    box.firstChild.style.zIndex = String(all.length - i));
  placeLabels();
  paintInstances(at("overlay"), found, shown, info);
  at("rows").replaceChildren(...shown.map(rowOf));
  at("rows").closest("table").hidden = !shown.length;
  at("count").textContent = `${shown.length} of ${found.detections.length} detections`;
  at("json").textContent = json();
}

function ready(is) {
  for (const id of ["threshold", "save-picture", "save-json", "copy-json"])
    at(id).disabled = !is;
}

function frame(width, height) {  // as large as there is room, within three times
  const style = at("view").style;
  style.setProperty("--ratio", width / height);
  style.setProperty("--wide", `${3 * width}px`);
  at("view").hidden = false;
  at("drop").hidden = true;
}

function unframe() {
  at("view").hidden = true;
  at("drop").hidden = false;
}

function clear() {
  found = null;
  shown = [];
  off.clear();
  for (const id of ["boxes", "rows", "classes"]) at(id).replaceChildren();
  at("overlay").width = at("overlay").height = 0;
  at("rows").closest("table").hidden = true;
  at("count").textContent = "No detections yet";
  at("json").textContent = "";
  ready(false);
  complain("");
  tell("");
}

async function detect(chosen) {
  if (request) request.abort();
  const mine = request = new AbortController();
  clear();
  file = chosen;
  if (url) URL.revokeObjectURL(url);
  url = URL.createObjectURL(file);
  at("picture").src = url;
  at("picture").alt = file.name;
  unframe();
  try {
    if (file.size > info.max_bytes)
      throw Error(`${file.name}: expected at most ${info.max_bytes >> 20} MiB, found ` +
        `${(file.size / 2 ** 20).toFixed(1)}; make the picture smaller`);
    await at("picture").decode().catch(() => {});  // the server says what is wrong
    if (request !== mine) return;
    const {naturalWidth, naturalHeight} = at("picture");
    if (naturalWidth) frame(naturalWidth, naturalHeight);
    at("view").classList.add("busy");
    tell("Detecting ...");
    const answer = await fetch("/detect", {
      method: "POST", body: file, signal: mine.signal,
      headers: {"Content-Type": "application/octet-stream"}});
    const content = await answer.json();
    if (!answer.ok) throw Error(`${file.name}: ${content.error}`);
    found = content;
    frame(found.width, found.height);
    const seconds = found.seconds.toFixed(2);
    tell(`${file.name}, ${found.width} x ${found.height}, ${seconds} s`);
    ready(true);
    render();
  } catch (error) {
    if (mine.signal.aborted) return;
    tell("");
    unframe();
    complain(error instanceof TypeError
      ? "The server does not answer; is the program still running?" : error.message);
  } finally {
    if (request === mine) at("view").classList.remove("busy");
  }
}

function take(files) {
  const all = [...files];
  const chosen = all.find(each => each.type.startsWith("image/")) || all[0];
  if (chosen && info) detect(chosen);
}
function save(blob, ending) {
  const link = made("a");
  link.href = URL.createObjectURL(blob);
  link.download = file.name.replace(/\.\w+$/, "") + ending;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

function drawn() {
  const canvas = made("canvas"), {width, height} = found;
  [canvas.width, canvas.height] = [width, height];
  const pen = canvas.getContext("2d");
  pen.drawImage(at("picture"), 0, 0, width, height);
  pen.drawImage(at("overlay"), 0, 0, width, height);
  const line = Math.max(2, Math.min(width, height) / 300), size = 7 * line;
  pen.font = `600 ${size}px system-ui, sans-serif`;
  pen.lineWidth = line;
  const texts = shown.map(({name, score}) => `${name} ${score.toFixed(2)}`);
  const sizes = texts.map(text => [pen.measureText(text).width + size / 2, 1.3 * size]);
  const places = labelPlaces(shown.map(({box}) => box), sizes, width, height);
  for (let i = shown.length - 1; i >= 0; i--) {
    const [x1, y1, x2, y2] = shown[i].box;
    pen.strokeStyle = info.colors[shown[i].label];
    pen.strokeRect(x1, y1, x2 - x1, y2 - y1);
  }
  for (let i = shown.length - 1; i >= 0; i--) {
    const color = info.colors[shown[i].label], [left, top] = places[i];
    pen.fillStyle = color;
    pen.fillRect(left, top, ...sizes[i]);
    pen.fillStyle = ink(color);
    pen.fillText(texts[i], left + size / 4, top + size);
  }
  return canvas;
}

at("file").addEventListener("change", event => {
  take(event.target.files);
  event.target.value = "";  // so that the same file can be chosen again
});
at("threshold").addEventListener("input", render);
at("save-json").addEventListener("click", () =>
  save(new Blob([json() + "\n"], {type: "application/json"}), ".json"));
at("save-picture").addEventListener("click", () =>
  drawn().toBlob(blob => save(blob, "-detections.png"), "image/png"));
at("copy-json").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText(json());
    tell("Copied");
  } catch { complain("The browser does not let this page copy; save the JSON"); }
});
addEventListener("dragover", event => {
  event.preventDefault();
  document.body.classList.add("over");
});
addEventListener("dragleave", event => {
  if (!event.relatedTarget) document.body.classList.remove("over");
});
addEventListener("drop", event => {
  event.preventDefault();
  document.body.classList.remove("over");
  take(event.dataTransfer.files);
});
addEventListener("paste", event => take(event.clipboardData.files));
new ResizeObserver(render).observe(at("view"));

(async () => {
  try {
    info = await (await fetch("/info")).json();
    const names = info.classes.slice(1), few = names.slice(0, 12).join(", ");
    at("about").textContent = `${info.checkpoint}: ${few}` +
      (names.length > 12 ? ` and ${names.length - 12} more` : "");
    at("limits").textContent = `${info.formats.join(", ")}; up to ` +
      `${info.max_bytes >> 20} MiB and ${info.max_pixels / 1e6} million pixels`;
    at("threshold").min = info.lowest_score;
  } catch { complain("The server does not answer; is the program still running?"); }
})();
