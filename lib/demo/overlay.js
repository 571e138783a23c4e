"use strict";
// Masks and keypoints, drawn in the colours of their classes over the picture, and the
// places of labels.

const KEYPOINT_SCORE = 0.05;  // above which a keypoint is drawn

function runLengths(counts) {  // COCO's: five bits a character, then differences
  const runs = [];
  for (let next = 0; next < counts.length;) {
    let run = 0, unit = 1, bits = 32;
    while (bits & 32) {
      bits = counts.charCodeAt(next++) - 48;
      run += (bits & 31) * unit;
      unit *= 32;
    }
    if (bits & 16) run -= unit;
    runs.push(runs.length > 2 ? run + runs[runs.length - 2] : run);
  }
  return runs;
}

function owners(detections, width, height) {  // number of the best mask at each pixel
  const owner = new Uint16Array(width * height);
  for (let i = detections.length - 1; i >= 0; i--) {
    if (!detections[i].mask) continue;
    let place = 0, inside = false;  // column by column
    for (const run of runLengths(detections[i].mask.counts)) {
      if (inside)
        for (let p = place; p < place + run; p++)
          owner[(p % height) * width + Math.floor(p / height)] = i + 1;
      place += run;
      inside = !inside;
    }
  }
  return owner;
}

function paintInstances(canvas, {width, height}, detections, {colors, skeleton}) {
  [canvas.width, canvas.height] = [width, height];
  const pen = canvas.getContext("2d");
  if (detections.some(each => each.mask)) {
    const image = pen.createImageData(width, height), data = image.data;
    const owner = owners(detections, width, height);
    const inks = detections.map(({label}) =>
      [1, 3, 5].map(k => parseInt(colors[label].slice(k, k + 2), 16)));
    for (let p = 0; p < owner.length; p++) {
      const own = owner[p];
      if (!own) continue;
      const x = p % width;
      const edge = owner[p - width] !== own || owner[p + width] !== own ||
        !x || owner[p - 1] !== own || x + 1 === width || owner[p + 1] !== own;
      data.set(inks[own - 1], 4 * p);
      data[4 * p + 3] = edge ? 255 : 110;
    }
    pen.putImageData(image, 0, 0);
  }
  pen.lineWidth = Math.max(2, Math.min(width, height) / 300);
  for (const {keypoints, label} of [...detections].reverse()) {
    if (!keypoints) continue;
    pen.strokeStyle = pen.fillStyle = colors[label];
    const seen = index => keypoints[index][2] > KEYPOINT_SCORE;
    for (const [a, b] of skeleton) {
      if (!seen(a) || !seen(b)) continue;
      pen.beginPath();
      pen.moveTo(keypoints[a][0], keypoints[a][1]);
      pen.lineTo(keypoints[b][0], keypoints[b][1]);
      pen.stroke();
    }
    for (const [x, y, score] of keypoints) {
      if (!(score > KEYPOINT_SCORE)) continue;
      pen.beginPath();
      pen.arc(x, y, 1.5 * pen.lineWidth, 0, 2 * Math.PI);
      pen.fill();
    }
  }
}

function common([left, top], [wide, tall], [x1, y1, x2, y2]) {  // area
  return Math.max(0, Math.min(left + wide, x2) - Math.max(left, x1)) *
    Math.max(0, Math.min(top + tall, y2) - Math.max(top, y1));
}

// As place_labels of utils/labels.py: each label where it covers least.
function labelPlaces(boxes, sizes, width, height) {
  const taken = [];
  return boxes.map((box, i) => {
    const [x1, y1, x2, y2] = box, size = sizes[i], [wide, tall] = size;
    const xs = [x1, x2 - wide, (x1 + x2 - wide) / 2], middle = (y1 + y2 - tall) / 2;
    const rows = (...ys) => ys.flatMap(y => xs.map(x => [x, y]));
    const beside = (...ys) => ys.flatMap(y => [[x2, y], [x1 - wide, y]]);
    const near = [...rows(y1 - tall, y2), ...beside(y1, middle, y2 - tall),
      ...rows(y1, y2 - tall)].map((place, rank) => [place, 0.02 * rank]);
    for (let steps = 1; steps < 6; steps++)
      for (const place of [
        ...rows(y1 - (1 + steps) * tall, y2 + steps * tall),
        ...[y1, middle].flatMap(y =>
          [[x1 - (1 + steps / 4) * wide, y], [x2 + steps / 4 * wide, y]])])
        near.push([place, 0.4 + 0.3 * steps]);
    let best = null, least = Infinity;
    for (const [[x, y], odd] of near) {
      const place = [Math.max(0, Math.min(x, width - wide)),
        Math.max(0, Math.min(y, height - tall))];
      let cost = odd;
      boxes.forEach((other, k) => {
        const area = common(place, size, other);
        if (!area) return;
        const [left, top, right, bottom] = other;
        cost += area / Math.max(1, (right - left) * (bottom - top)) +
          0.3 * area * (k === i ? 0.5 : 1) / (wide * tall);
      });
      for (const label of taken) {
        const hidden = common(place, size, label);
        if (hidden) cost += 3 + 20 * hidden / (wide * tall);
      }
      if (cost < least) [best, least] = [place, cost];
    }
    taken.push([best[0], best[1], best[0] + wide, best[1] + tall]);
    return best;
  });
}
