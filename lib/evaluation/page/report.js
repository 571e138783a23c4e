// Images with boxes. Roles are drawn in this order, so that errors are on top.
const data = JSON.parse(document.querySelector("#data").textContent);
const ranks = ["ignored", "truth", "true", "missed", "false"];
const svg = (name, values) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const key in values) element.setAttribute(key, values[key]);
  return element;
};
const same = (a, b) => b && a.slice(0, 5).join() === b.slice(0, 5).join();
const view = (image, marks, main, label = "") => {
  const frame = make("span", "view");
  const picture = make("img");
  picture.loading = "lazy";
  picture.decoding = "async";
  picture.alt = "";
  [picture.width, picture.height] = image.size;
  picture.src = "data:image/jpeg;base64," + image.jpeg;
  const [width, height] = image.size;
  const layer = svg("svg", {viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true"});
  const boxes = new Map();
  const rank = mark => same(mark, main) ? 9 : ranks.indexOf(mark[4]);
  for (const mark of [...marks].sort((a, b) => rank(a) - rank(b))) {
    const [x1, y1, x2, y2, role, text, outline, limbs] = mark;
    const kind = `${role} ${same(mark, main) ? "main" : "other"}`;
    const box = svg("rect", {class: kind, x: x1, y: y1,
      width: Math.max(x2 - x1, 0), height: Math.max(y2 - y1, 0)});
    const title = svg("title", {});
    title.textContent = text;
    box.append(title);
    if (outline) layer.append(svg("path", {class: `mask ${kind}`, d: outline}));
    if (limbs) layer.append(svg("path", {class: `limbs ${kind}`, d: limbs}));
    layer.append(box);
    boxes.set(mark, box);
  }
  frame.append(picture, layer);
  if (label) frame.append(make("em", "", label));
  return [frame, boxes];
};
// Bring a mark to the middle of a card, whose sides are as 4 to 3.
const zoom = (frame, [width, height], [x1, y1, x2, y2]) => {
  const fit = Math.min(4 / width, 3 / height);
  const room = Math.max((x2 - x1) * fit / 4, (y2 - y1) * fit / 3);
  const factor = Math.min(Math.max(.7 / room, 1), 12);
  const [x, y, pixel] = [(x1 + x2) / 2, (y1 + y2) / 2, 1 / fit / factor];
  const [picture, layer] = frame.children;
  picture.style.transform = `scale(${factor}) translate(
    ${(width / 2 - x) * fit * 25}%, ${(height / 2 - y) * fit / 3 * 100}%)`;
  // The lines keep their width, which they would not in a transformed layer.
  layer.setAttribute("viewBox",
    [x - 2 * pixel, y - 1.5 * pixel, 4 * pixel, 3 * pixel].join(" "));
};
const touch = (a, b) => a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3];
const withMain = (marks, main) =>
  !main || marks.some(mark => same(mark, main)) ? marks : [...marks, main];

const shows = [];
const card = (entry, views, lines) => {
  const button = make("button", "card");
  button.type = "button";
  const row = make("span", "views");
  row.append(...views.map(([frame]) => frame));
  const text = make("span", "note");
  lines.forEach((line, i) => {
    if (i) text.append(make("br"));
    text.append(i ? line : make("b", "", line));
  });
  button.append(row, text);
  button.addEventListener("click", () => enlarge(entry));
  entry.button = button;
  shows.push(entry);
  return button;
};
for (const entry of [...data.items, ...data.masks]) {
  const image = data.images[entry.image];
  const poor = entry.kind === "mask";
  const near = image.marks.filter(mark =>
    poor ? same(mark, entry.mark) || (mark[4] === "truth" && touch(mark, entry.mark))
      : mark[4] !== "true");
  entry.views = () => [view(image, withMain(image.marks, entry.mark), entry.mark)];
  entry.title = image.name;
  const marks = withMain(near, entry.mark);
  // A mask is judged without the limbs over it.
  const shown = view(image, poor ? marks.map(m => m.slice(0, 7)) : marks, entry.mark);
  if (poor) zoom(shown[0], image.size, entry.mark);
  const [name, ...rest] = entry.mark[5].split(/, |; /);
  document.querySelector(poor ? "#masks" : "#cards").append(card(entry,
    [shown], [name, rest.join(", ")]));
}
for (const entry of data.changed) {
  const image = data.images[entry.image];
  entry.views = () => [view(image, entry.earlier, null, "earlier"),
                       view(image, image.marks, null, "now")];
  entry.title = `${image.name}: ${entry.text}`;
  document.querySelector("#pairs").append(
    card(entry, entry.views(), [entry.text, image.name]));
}

// Filters
const pick = document.querySelector("#class");
const kind = document.querySelector("#kind");
const filter = () => {
  let count = 0;
  for (const entry of data.items) {
    const wanted = (!pick.value || entry.category === pick.value) &&
      (!kind.value || entry.kind === kind.value ||
       (kind.value === "false" && entry.kind !== "missed"));
    entry.button.hidden = !wanted;
    count += wanted;
  }
  for (const entry of data.masks)
    entry.button.hidden = pick.value && entry.category !== pick.value;
  document.querySelector("#count").textContent =
    count === 1 ? "1 picture" : `${count} pictures`;
  for (const each of all("[data-class]")) {
    const on = pick.value !== "" && each.dataset.class === pick.value;
    each.classList.toggle("on", on);
    if (each.matches("button")) each.setAttribute("aria-pressed", on);
  }
};
pick.addEventListener("change", filter);
kind.addEventListener("change", filter);
for (const mini of all("button.mini")) mini.addEventListener("click", () => {
  pick.value = pick.value === mini.dataset.class ? "" : mini.dataset.class;
  filter();
});
filter();

// The enlarged image
const dialog = document.querySelector("dialog");
const large = document.querySelector("#large");
let current = null;
const enlarge = entry => {
  current = entry;
  document.querySelector("#title").textContent = entry.title;
  const views = entry.views();
  const lists = views.map(([frame, boxes]) => {
    const list = make("ul");
    for (const [mark, box] of boxes) {
      const line = make("li", mark[4], mark[5]);
      const main = box.classList.contains("main");
      if (main) line.classList.add("main");
      line.addEventListener("mouseenter", () => box.classList.add("lit"));
      line.addEventListener("mouseleave", () => box.classList.remove("lit"));
      box.addEventListener("mouseenter", () => line.classList.add("main"));
      box.addEventListener("mouseleave", () => line.classList.toggle("main", main));
      list.prepend(line);
    }
    return list;
  });
  const row = make("div", "views");
  row.append(...views.map(([frame]) => frame));
  large.className = views.length > 1 ? "large two" : "large";
  large.replaceChildren(row, ...lists);
  if (!dialog.open) dialog.showModal();
};
const gallery = entry => entry.button.parentElement;
const step = way => {
  const open = shows.filter(entry => !entry.button.hidden &&
    gallery(entry) === gallery(current));
  enlarge(open[(open.indexOf(current) + way + open.length) % open.length]);
};
document.querySelector("#previous").addEventListener("click", () => step(-1));
document.querySelector("#next").addEventListener("click", () => step(1));
document.querySelector("#close").addEventListener("click", () => dialog.close());
dialog.addEventListener("click", event => {
  if (event.target === dialog) dialog.close();
});
dialog.addEventListener("keydown", event => {
  if (event.key === "ArrowLeft") step(-1);
  if (event.key === "ArrowRight") step(1);
});
dialog.addEventListener("close", () => { if (current) current.button.focus(); });
