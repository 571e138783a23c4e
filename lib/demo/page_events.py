"""The second part of the page's script: saving, and what people do with the page."""

EVENTS = r"""
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
  const line = Math.max(2, Math.min(width, height) / 300), size = 7 * line;
  pen.font = `600 ${size}px system-ui, sans-serif`;
  pen.lineWidth = line;
  for (const {box: [x1, y1, x2, y2], name, score, label} of [...shown].reverse()) {
    const color = info.colors[label], text = `${name} ${score.toFixed(2)}`;
    pen.strokeStyle = pen.fillStyle = color;
    pen.strokeRect(x1, y1, x2 - x1, y2 - y1);
    const wide = pen.measureText(text).width + size / 2, tall = 1.3 * size;
    const left = Math.max(0, Math.min(x1, width - wide));
    const top = y1 >= tall ? y1 - tall : y1;
    pen.fillRect(left, top, wide, tall);
    pen.fillStyle = ink(color);
    pen.fillText(text, left + size / 4, top + size);
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
"""
