"use strict";
// The page. Names of classes, data sets and folders reach it as text alone, by textContent and
// fillText, whatever characters they have.

const find = (id) => document.getElementById(id);
addEventListener("error", ({ message }) => { // until all is built; browsers report harmless things as well, later
  if (!globalThis.explorer) find("failed").textContent = `This page does not work here: ${message}`;
});
const page = JSON.parse(find("data").textContent);
const GUTTER = 2; // between the images of a strip

const datasets = page.datasets.map(unpackDataset);
const panels = page.runs.map(unpackRun);

// What is shown: the same place in all panels, or where each of them is between A and B.
const look = { x: 0, y: 0, along: null };
const ends = { kind: "image", next: 0, image: [null, null], place: [null, null] };

// From the page's data --------------------------------------------------------

function bytes(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

function floats(base64) {
  return new Float32Array(bytes(base64).buffer);
}

function unpackDataset(packed) {
  const sprite = new Image();
  sprite.src = packed.sprite;
  const labels = new Uint16Array(packed.size), numbers = new Uint32Array(bytes(packed.numbers).buffer);
  packed.classes.forEach(({ first, count }, i) => labels.fill(i, first, first + count));
  return { ...packed, sprite, labels, numbers, hidden: new Set() };
}

function unpackRun(packed, index) {
  const dim = packed.latentDim, means = floats(packed.means);
  const mixture = packed.mixture && {
    mean: floats(packed.mixture.mean), sd: floats(packed.mixture.logvar).map((v) => Math.exp(v / 2)),
  };
  return {
    ...packed, index, dim, means, mixture,
    points: packed.points ? floats(packed.points) : means,
    data: datasets[packed.dataset],
    view: { ...page.home },
    further: packed.spread.map(() => 0), // places along the principal components after the second
    decode: makeDecoder(packed.decoder, datasets[packed.dataset].shape),
    fallen: [],
    stale: true, // the points on the plot are
  };
}

/** A function that has a latent vector decoded; of several for one purpose, the latest wins. */
function makeDecoder(packed, shape) {
  const source = URL.createObjectURL(new Blob([find("decoder").textContent], { type: "text/javascript" }));
  const worker = new Worker(source), waiting = new Map(), layers = {};
  for (const [name, { kernel, bias }] of Object.entries(packed)) {
    layers[name] = { kernel: floats(kernel), bias: floats(bias) };
  }
  worker.postMessage({ layers, shape });
  let current = null, last = null;
  function next() { // after "here" and "again" whatever waits longest, so that no purpose waits for ever
    const first = { here: ["again"], again: [] }[last] ?? ["here", "again"];
    last = [...first, ...waiting.keys()].find((purpose) => waiting.has(purpose));
    current = waiting.get(last) ?? null;
    waiting.delete(last);
    if (current) worker.postMessage({ z: current.z });
  }
  worker.onmessage = ({ data }) => {
    current.show(data);
    next();
  };
  worker.onerror = ({ message = "no worker could be started" }) =>
    find("failed").append(`A decoder does not work here: ${message}. `);
  return (purpose, z, show) => {
    waiting.set(purpose, { z, show });
    if (!current) next();
  };
}

// Latent vectors ---------------------------------------------------------------

/** The latent vector of a place in a panel's plane, or beside it. */
function lift(panel, x, y, further = panel.further) {
  const along = [x, y, ...further];
  return Float64Array.from(panel.origin, (value, i) =>
    along.reduce((sum, step, k) => sum + step * (panel.axes[k]?.[i] ?? 0), value));
}

/** Where a latent vector is in a panel's plane. */
function project(panel, z) {
  const [x, y = 0] = panel.axes.slice(0, 2).map((axis) =>
    axis.reduce((sum, value, i) => sum + value * (z[i] - panel.origin[i]), 0));
  return { x, y };
}

function meanOf(panel, image) {
  return Float64Array.from(panel.means.subarray(image * panel.dim, (image + 1) * panel.dim));
}

function pointOf(panel, image) {
  return { x: panel.points[2 * image], y: panel.points[2 * image + 1] };
}

/** The test image whose point is nearest to a place, of the classes that are shown; or null. */
function nearest(panel, { x, y }) {
  let found = null, least = Infinity;
  for (let i = 0; i < panel.data.size; i++) {
    if (panel.data.hidden.has(panel.data.labels[i])) continue;
    const square = (panel.points[2 * i] - x) ** 2 + (panel.points[2 * i + 1] - y) ** 2;
    if (square < least) [found, least] = [i, square];
  }
  return found;
}

/** A's or B's latent vector and place in a panel; null where it has none, as of others' images. */
function endOf(panel, k) {
  const end = ends[ends.kind][k];
  if (!end) return null;
  if (ends.kind === "place") return { z: lift(panel, end.x, end.y, end.further[panel.index]), x: end.x, y: end.y };
  if (end.data !== panel.data) return null;
  return { z: meanOf(panel, end.image), ...pointOf(panel, end.image) };
}

/** The latent vector so far, 0 to 1, on the straight line from A to B; null without both. */
function between(panel, along) {
  const [a, b] = [endOf(panel, 0), endOf(panel, 1)];
  return a && b && a.z.map((value, i) => value + along * (b.z[i] - value));
}

/** A place as an end of the morphing, with where the sliders of all panels are. */
function placeEnd({ x, y }) {
  return { x, y, further: panels.map(({ further }) => [...further]) };
}

function gaussian() {
  return Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
}

// Pictures ---------------------------------------------------------------------

function make(name, properties = {}, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

/** Put intensities, (height, width, channels), on a canvas. */
function paint(canvas, image, [height, width, channels], left = 0, top = 0) {
  const pixels = new ImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    for (let k = 0; k < 3; k++) {
      pixels.data[4 * i + k] = Math.round(255 * image[i * channels + (channels === 3 ? k : 0)]);
    }
    pixels.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(pixels, left, top);
}

/** Copy a test image from the data set's sprite to a canvas. */
function paintTest(canvas, data, image, wanted = () => true) {
  const [height, width] = data.shape;
  const left = (image % data.columns) * width, top = Math.floor(image / data.columns) * height;
  const context = canvas.getContext("2d");
  data.sprite.decode().then(() => wanted() && context.drawImage(data.sprite, left, top, width, height, 0, 0, width, height));
}

/** What tells classes apart besides colour: outlines of about the radius r, added to a path. */
const SHAPES = [
  function disc(context, x, y, r) {
    context.moveTo(x + r, y);
    context.arc(x, y, r, 0, 7);
  },
  function square(context, x, y, r) {
    context.rect(x - 0.9 * r, y - 0.9 * r, 1.8 * r, 1.8 * r);
  },
  function triangle(context, x, y, r) {
    trace(context, [x, y - 1.2 * r], [x + 1.1 * r, y + 0.8 * r], [x - 1.1 * r, y + 0.8 * r]);
  },
  function diamond(context, x, y, r) {
    trace(context, [x, y - 1.3 * r], [x + 1.3 * r, y], [x, y + 1.3 * r], [x - 1.3 * r, y]);
  },
  function cross(context, x, y, r) {
    const [far, near] = [r, 0.6 * r];
    trace(context, [x - far, y - near], [x - near, y - far], [x + far, y + near], [x + near, y + far]);
    trace(context, [x + near, y - far], [x + far, y - near], [x - near, y + far], [x - far, y + near]);
  },
  function plus(context, x, y, r) {
    context.rect(x - 1.2 * r, y - 0.4 * r, 2.4 * r, 0.8 * r);
    context.rect(x - 0.4 * r, y - 1.2 * r, 0.8 * r, 2.4 * r);
  },
  function wedge(context, x, y, r) {
    trace(context, [x, y + 1.2 * r], [x + 1.1 * r, y - 0.8 * r], [x - 1.1 * r, y - 0.8 * r]);
  },
  function ring(context, x, y, r) { // the hole runs the other way round
    context.moveTo(x + 1.1 * r, y);
    context.arc(x, y, 1.1 * r, 0, 7);
    context.moveTo(x + 0.5 * r, y);
    context.arc(x, y, 0.5 * r, 7, 0, true);
  },
  function frame(context, x, y, r) {
    const hole = 0.45 * r;
    context.rect(x - r, y - r, 2 * r, 2 * r);
    trace(context, [x - hole, y - hole], [x - hole, y + hole], [x + hole, y + hole], [x + hole, y - hole]);
  },
  function bar(context, x, y, r) {
    context.rect(x - 1.3 * r, y - 0.4 * r, 2.6 * r, 0.8 * r);
  },
];

function trace(context, [x, y], ...others) {
  context.moveTo(x, y);
  for (const [toX, toY] of others) context.lineTo(toX, toY);
  context.closePath();
}

function ink(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/** A canvas's context, in CSS pixels, wiped; its pixels are the screen's. */
function wiped(canvas, width, height) {
  const scale = devicePixelRatio || 1, context = canvas.getContext("2d");
  const [across, down] = [Math.round(width * scale), Math.round(height * scale)];
  if (canvas.width !== across || canvas.height !== down) [canvas.width, canvas.height] = [across, down];
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  const font = "12px system-ui, sans-serif";
  return Object.assign(context, { font, textAlign: "left", textBaseline: "alphabetic", lineJoin: "miter" });
}

// A panel's plot ---------------------------------------------------------------

function toScreen(panel, { x, y }) {
  const { width, height } = panel.size, unit = unitOf(panel);
  return [width / 2 + (x - panel.view.x) * unit, height / 2 - (y - panel.view.y) * unit];
}

function toPlace(panel, left, top) {
  const { width, height } = panel.size, unit = unitOf(panel);
  return { x: panel.view.x + (left - width / 2) / unit, y: panel.view.y - (top - height / 2) / unit };
}

/** Pixels of one unit of the latent space. */
function unitOf(panel) {
  return Math.min(panel.size.width, panel.size.height) / 2 / panel.view.half;
}

function drawPoints(panel) {
  const { width, height } = panel.size, context = wiped(panel.back, width, height);
  drawTicks(panel, context);
  drawPrior(panel, context);
  const { hidden, classes, size } = panel.data, zoomed = Math.sqrt(page.home.half / panel.view.half);
  const r = Math.min(7, Math.max(1.5, (size > 3000 ? 1.6 : 2.4) * zoomed * Math.sqrt(width / 500)));
  const shown = classes.length ? classes : [{ color: ink("accent"), first: 0, count: size }];
  const unit = unitOf(panel), [left0, top0] = toScreen(panel, { x: 0, y: 0 });
  const inSight = shown.map(({ color, first, count }, label) => {
    const lefts = [], tops = [];
    if (hidden.has(label)) return { lefts, tops };
    context.fillStyle = color;
    context.beginPath();
    for (let i = first; i < first + count; i++) {
      const left = left0 + unit * panel.points[2 * i], top = top0 - unit * panel.points[2 * i + 1];
      if (left < -9 || top < -9 || left > width + 9 || top > height + 9) continue;
      SHAPES[label % SHAPES.length](context, left, top, r);
      lefts.push(left);
      tops.push(top);
    }
    context.fill();
    return { lefts, tops };
  });
  if (classes.length && classes.length <= 20) nameClasses(context, classes, inSight);
}

/** The name of each class at the median of its points that are in sight, or near it; where no room is, none. */
function nameClasses(context, classes, inSight) {
  const median = (values) => Float64Array.from(values).sort()[values.length >> 1], placed = [];
  Object.assign(context, { textAlign: "center", textBaseline: "middle", lineWidth: 4, lineJoin: "round" });
  Object.assign(context, { font: "600 12px system-ui, sans-serif", strokeStyle: ink("paper"), fillStyle: ink("ink") });
  classes.forEach(({ name }, label) => {
    const { lefts, tops } = inSight[label];
    if (lefts.length < 3) return;
    const text = name.length > 18 ? `${name.slice(0, 17)}…` : name, half = context.measureText(text).width / 2 + 2;
    const left = median(lefts), middle = median(tops);
    const free = (top) => placed.every((other) => Math.abs(other.top - top) > 14 || Math.abs(other.left - left) > other.half + half);
    const top = [0, -15, 15, -30, 30].map((step) => middle + step).find(free);
    if (top === undefined) return;
    placed.push({ left, top, half });
    context.strokeText(text, left, top);
    context.fillText(text, left, top);
  });
}

/** Lines at round numbers, with the numbers. */
function drawTicks(panel, context) {
  const { width, height } = panel.size, rough = panel.view.half / 3.5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((one) => one * power >= rough) * power;
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  context.strokeStyle = ink("line");
  context.fillStyle = ink("faint");
  context.lineWidth = 1;
  const [low, high] = [toPlace(panel, 0, height), toPlace(panel, width, 0)];
  for (const axis of panel.dim === 1 ? ["x"] : ["x", "y"]) {
    for (let k = Math.ceil(low[axis] / step); k * step <= high[axis]; k++) {
      const at = toScreen(panel, { x: 0, y: 0, [axis]: k * step }), text = (k * step).toFixed(digits);
      context.beginPath();
      if (axis === "x") {
        trace(context, [at[0], 0], [at[0], height]);
        context.fillText(text, at[0] + 3, height - 5);
      } else {
        trace(context, [0, at[1]], [width, at[1]]);
        context.fillText(text, 3, at[1] - 3);
      }
      context.stroke();
    }
  }
  context.textAlign = "right";
  context.fillText(panel.labels[0], width - 5, height - 20);
  context.textAlign = "left";
  context.fillText(panel.labels[1], 40, 14);
}

/** N(0, I)'s 1, 2 and 3 sigma; of a VampPrior, the means of its Gaussians. */
function drawPrior(panel, context) {
  context.strokeStyle = context.fillStyle = ink("ink");
  context.lineWidth = 1;
  if (panel.mixture) {
    context.beginPath();
    for (let k = 0; k < panel.mixture.mean.length / panel.dim; k++) {
      const z = panel.mixture.mean.subarray(k * panel.dim, (k + 1) * panel.dim);
      const [left, top] = toScreen(panel, project(panel, z));
      trace(context, [left - 4, top - 4], [left + 4, top + 4]);
      trace(context, [left - 4, top + 4], [left + 4, top - 4]);
    }
    context.stroke();
    return;
  }
  const centre = project(panel, new Array(panel.dim).fill(0)), [left, top] = toScreen(panel, centre);
  for (const sigma of [1, 2, 3]) {
    const r = sigma * unitOf(panel);
    context.beginPath();
    if (panel.dim === 1) {
      trace(context, [left - r, 0], [left - r, panel.size.height]);
      trace(context, [left + r, 0], [left + r, panel.size.height]);
    } else context.arc(left, top, r, 0, 7);
    context.stroke();
    context.fillText(`${sigma}σ`, left + r * (panel.dim === 1 ? 1 : Math.SQRT1_2) + 3, panel.dim === 1 ? 28 : top - r * Math.SQRT1_2 - 3);
  }
}

/** What moves: draws, the line from A to B, the place that is decoded, the nearest test image. */
function drawOver(panel) {
  const { width, height } = panel.size, context = wiped(panel.front, width, height);
  context.strokeStyle = context.fillStyle = ink("ink");
  if (find("fallen").checked) {
    context.lineWidth = 1.5;
    context.beginPath();
    for (const place of panel.fallen) {
      const [left, top] = toScreen(panel, place);
      for (const angle of [1, 3, 5].map((sixths) => (sixths * Math.PI) / 6)) { // an asterisk
        const [across, down] = [4 * Math.cos(angle), 4 * Math.sin(angle)];
        trace(context, [left - across, top - down], [left + across, top + down]);
      }
    }
    context.stroke();
  }
  const line = [0, 1].map((k) => endOf(panel, k));
  if (line[0] && line[1]) {
    for (const [color, lineWidth] of [[ink("paper"), 5], [ink("ink"), 2]]) {
      Object.assign(context, { strokeStyle: color, lineWidth });
      context.beginPath();
      trace(context, toScreen(panel, line[0]), toScreen(panel, line[1]));
      context.stroke();
    }
  }
  line.forEach((end, k) => end && drawBadge(context, "AB"[k], ...toScreen(panel, end)));
  if (panel.near !== null) drawRing(context, ...toScreen(panel, pointOf(panel, panel.near)), 7);
  const [left, top] = toScreen(panel, placeOf(panel));
  for (const [color, lineWidth] of [[ink("paper"), 4], [ink("accent"), 2]]) {
    Object.assign(context, { strokeStyle: color, lineWidth });
    context.beginPath();
    trace(context, [left - 10, top], [left + 10, top]);
    trace(context, [left, top - 10], [left, top + 10]);
    context.stroke();
  }
}

function drawBadge(context, letter, left, top) {
  context.beginPath();
  context.arc(left, top, 9, 0, 7);
  context.fillStyle = ink("ink");
  context.fill();
  Object.assign(context, { fillStyle: ink("paper"), textAlign: "center", textBaseline: "middle" });
  context.fillText(letter, left, top + 0.5);
}

function drawRing(context, left, top, r) {
  Object.assign(context, { strokeStyle: ink("ink"), lineWidth: 2 });
  context.beginPath();
  context.arc(left, top, r, 0, 7);
  context.stroke();
}

// What is looked at ------------------------------------------------------------

/** The place in a panel's plane that is looked at. */
function placeOf(panel) {
  const [a, b] = [0, 1].map((k) => look.along !== null && endOf(panel, k));
  return a && b ? { x: a.x + look.along * (b.x - a.x), y: a.y + look.along * (b.y - a.y) } : look;
}

/** Decode what is looked at, in all panels, and show what is near it. */
function see() {
  for (const panel of panels) {
    const place = placeOf(panel), { shape, classes, labels } = panel.data;
    const z = (look.along !== null && between(panel, look.along)) || lift(panel, look.x, look.y);
    panel.decode("here", z, (image) => paint(panel.here, image, shape));
    const near = nearest(panel, place);
    if (near !== panel.near) {
      panel.near = near;
      for (const canvas of [panel.test, panel.again]) canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
      if (near !== null) {
        const wanted = () => panel.near === near; // by then, too
        paintTest(panel.test, panel.data, near, wanted);
        panel.decode("again", meanOf(panel, near), (image) => wanted() && paint(panel.again, image, shape));
      }
    }
    const name = near !== null && classes.length ? `: ${classes[labels[near]].name}` : "";
    const at = near === null ? place : pointOf(panel, near), across = at.x - place.x; // of one dimension, this alone
    const away = panel.dim === 1 ? Math.abs(across) : Math.hypot(across, at.y - place.y), far = away * unitOf(panel) > 30; // pixels
    panel.testCaption.textContent = near === null ? "no class is shown" :
      `test image ${panel.data.numbers[near]}${far ? ` (${rounded(panel, away)} away)` : ""}${name}`;
    for (const canvas of [panel.test, panel.again]) canvas.classList.toggle("far", far);
    panel.hereCaption.textContent = `decoded, at ${written(panel, place)}`;
  }
  soon();
}

/** A number with as many digits as can be told apart on the plot. */
function rounded(panel, value) {
  return value.toFixed(Math.max(2, 2 - Math.floor(Math.log10(panel.view.half))));
}

function written(panel, { x, y }) {
  return `(${[x, ...(panel.dim === 1 ? [] : [y])].map((value) => rounded(panel, value)).join(", ")})`;
}

let waitingForFrame = false;

/** Draw in the next frame what has changed. */
function soon() {
  if (waitingForFrame) return;
  waitingForFrame = true;
  requestAnimationFrame(() => {
    waitingForFrame = false;
    for (const panel of panels) {
      if (panel.stale) drawPoints(panel);
      panel.stale = false;
      drawOver(panel);
    }
  });
}

function lookAt(place) {
  Object.assign(look, bounded(place));
  goAlong(null);
}

/** A place, or where it leaves four times what is in sight at first. */
function bounded({ x, y }) {
  const { home } = page, within = (value, middle) => Math.min(middle + 4 * home.half, Math.max(middle - 4 * home.half, value));
  return { x: within(x, home.x), y: within(y, home.y) };
}

let moved = panels[0]; // the panel whose view was set last

/** Set what is in sight, within limits, of all panels that move together. */
function setView(panel, { half, ...middle }) {
  moved = panel;
  for (const one of find("together").checked ? panels : [panel]) {
    one.view = { ...bounded(middle), half: limited(half) };
    one.stale = true;
  }
  see(); // how far the nearest image is in pixels, and with how many digits
}

function limited(half) {
  return Math.min(4 * page.home.half, Math.max(page.home.half / 500, half));
}

/** Zoom by a factor; the place under these pixels stays there. */
function zoom(panel, factor, left, top) {
  const half = limited(panel.view.half * factor);
  const kept = toPlace(panel, left, top), share = half / panel.view.half;
  setView(panel, { x: kept.x + (panel.view.x - kept.x) * share, y: kept.y + (panel.view.y - kept.y) * share, half });
}

function whole(...these) {
  for (const panel of these) setView(panel, page.home);
}

// Hands ------------------------------------------------------------------------

let scrolled = -Infinity; // when the page last was
addEventListener("scroll", () => (scrolled = performance.now()), { passive: true });

/** Mouse: hover to look, drag to move, wheel to zoom. Touch: one finger looks, two move and zoom. */
function listen(panel) {
  const { plot } = panel, pointers = new Map();
  let dragged = false, before = null;
  const at = (event) => {
    const box = plot.getBoundingClientRect();
    return [event.clientX - box.left - plot.clientLeft, event.clientY - box.top - plot.clientTop];
  };
  plot.addEventListener("pointerdown", (event) => {
    if (event.button) return; // the menu's, say
    if (!pointers.size) dragged = false;
    pointers.set(event.pointerId, at(event));
    plot.setPointerCapture(event.pointerId);
    if (event.pointerType !== "mouse" && pointers.size === 1) lookAt(toPlace(panel, ...at(event)));
  });
  plot.addEventListener("pointermove", (event) => {
    const now = at(event), last = pointers.get(event.pointerId);
    const drags = last && (event.pointerType === "mouse" || pointers.size > 1);
    if (drags && (dragged || Math.hypot(now[0] - last[0], now[1] - last[1]) > 3)) {
      dragged = true;
      pinch(panel, pointers, event.pointerId, now);
      pointers.set(event.pointerId, now);
    }
    if (!drags && (last || playing === null)) lookAt(toPlace(panel, ...now)); // to hover does not stop what plays
  });
  for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) {
    plot.addEventListener(name, (event) => pointers.delete(event.pointerId));
  }
  plot.addEventListener("wheel", (event) => {
    if (performance.now() - scrolled < 400) return; // the page is being scrolled, and a plot came under the pointer
    event.preventDefault();
    const lines = event.deltaMode ? 20 : 1;
    zoom(panel, Math.exp(Math.max(-1, Math.min(1, event.deltaY * lines * 0.002))), ...at(event));
  }, { passive: false });
  plot.addEventListener("click", (event) => {
    if (event.detail > 1) return;
    before = null;
    if (dragged) return;
    before = { ...ends, image: [...ends.image], place: [...ends.place] };
    choose(panel, toPlace(panel, ...at(event)));
  });
  plot.addEventListener("dblclick", () => { // its first click was not meant
    if (before) Object.assign(ends, before);
    whole(panel);
    endsChanged();
  });
  plot.addEventListener("keydown", (event) => press(panel, event));
}

/** Move the view by what one of one or two pointers has moved; zoom by what two have parted. */
function pinch(panel, pointers, id, now) {
  const last = pointers.get(id), [other] = [...pointers].filter(([one]) => one !== id).map(([, place]) => place);
  const unit = unitOf(panel) * (other ? 2 : 1), { x, y, half } = panel.view;
  setView(panel, { x: x - (now[0] - last[0]) / unit, y: y + (now[1] - last[1]) / unit, half });
  if (other) {
    const apart = (place) => Math.max(20, Math.hypot(place[0] - other[0], place[1] - other[1]));
    zoom(panel, apart(last) / apart(now), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
  }
}

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

function press(panel, event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const step = (panel.view.half / 40) * (event.shiftKey ? 5 : 1), arrow = ARROWS[event.key];
  if (arrow) {
    const from = placeOf(panel);
    lookAt({ x: from.x + arrow[0] * step, y: from.y + arrow[1] * step });
    follow(panel);
    find("said").textContent = `${written(panel, look)}, ${panel.testCaption.textContent}`;
  } else if (event.key === "Enter" || event.key === " ") choose(panel, placeOf(panel));
  else if (event.key === "+" || event.key === "=") zoom(panel, 0.8, ...toScreen(panel, placeOf(panel)));
  else if (event.key === "-") zoom(panel, 1.25, ...toScreen(panel, placeOf(panel)));
  else if (event.key === "0" || event.key === "Home") whole(panel);
  else return;
  event.preventDefault();
}

/** Keep the place that is looked at in sight. */
function follow(panel) {
  const [left, top] = toScreen(panel, look), { width, height } = panel.size, edge = 20;
  const beyond = (at, length) => Math.min(0, at - edge) + Math.max(0, at - length + edge);
  const [dx, dy] = [beyond(left, width), beyond(top, height)];
  const { x, y, half } = panel.view;
  if (dx || dy) setView(panel, { x: x + dx / unitOf(panel), y: y - dy / unitOf(panel), half });
}

// Morphing ---------------------------------------------------------------------

/** Take a place, or the test image nearest to it, for A or B; the other one is next. */
function choose(panel, place) {
  const image = nearest(panel, place), k = ends.next;
  if (ends.kind === "image" && image === null) return;
  ends[ends.kind][k] = ends.kind === "image" ? { image, data: panel.data } : placeEnd(place);
  ends.next = 1 - k;
  find("said").textContent = `${"AB"[k]}: ${nameOf(ends[ends.kind][k])}`;
  endsChanged();
}

function endsChanged() {
  document.querySelectorAll("[name=end]").forEach((radio, k) => {
    radio.checked = k === ends.next;
    radio.nextElementSibling.textContent = `${"AB"[k]}: ${nameOf(ends[ends.kind][k])}`;
  });
  const nowhere = panels.every((panel) => between(panel, 0) === null);
  for (const id of ["along", "play", "save"]) find(id).disabled = nowhere;
  drawStrips();
  goAlong(nowhere ? null : look.along);
}

function nameOf(end) {
  if (ends.kind === "place") return written(panels[0], end);
  const { classes, labels, numbers } = end.data;
  return `test image ${numbers[end.image]}${classes.length ? `, ${classes[labels[end.image]].name}` : ""}`;
}

function drawStrips() {
  const n = Number(find("frames").value);
  for (const panel of panels) {
    const { shape } = panel.data, [height, width] = shape, { strip } = panel, across = n * width + (n - 1) * GUTTER;
    if (strip.width !== across) [strip.width, strip.height] = [across, height]; // or keep the images till others come
    const there = between(panel, 0) !== null;
    if (!there) strip.getContext("2d").clearRect(0, 0, across, height);
    panel.stripNote.textContent = there ? "" : "Of A and B, one or both are images of another data set: choose two of this one.";
    for (let k = 0; k < n && there; k++) {
      panel.decode(`strip ${k}`, between(panel, k / (n - 1)), (image) => {
        if (n === Number(find("frames").value) && between(panel, 0)) paint(strip, image, shape, k * (width + GUTTER));
      });
    }
  }
}

/** Look at what is so far, 0 to 1, on the way from A to B; null leaves it, and stops what plays. */
function goAlong(along) {
  look.along = along;
  if (along === null) stop();
  else find("along").value = along;
  find("along").nextElementSibling.textContent = along === null ? "–" : `${Math.round(100 * along)} %`;
  const n = Number(find("frames").value);
  for (const panel of panels) {
    const { marker, strip, data } = panel;
    marker.hidden = along === null || !between(panel, 0);
    marker.style.left = `${(100 * (along * (n - 1) * (data.shape[1] + GUTTER) + data.shape[1] / 2)) / strip.width}%`;
  }
  see();
}

/** How far along the image is that is under a share of a strip's width. */
function alongOf({ strip, data }, share) {
  const step = data.shape[1] + GUTTER, last = Number(find("frames").value) - 1;
  return Math.min(last, Math.max(0, Math.floor((share * strip.width) / step))) / last;
}

let playing = null;

/** There and back in six seconds, over and over. */
function play() {
  const started = performance.now() - 3000 * (find("along").value % 1);
  find("play").textContent = "Pause";
  function step(now) {
    const phase = (Math.max(0, now - started) / 3000) % 2;
    playing = requestAnimationFrame(step);
    goAlong(phase > 1 ? 2 - phase : phase);
  }
  playing = requestAnimationFrame(step);
}

function stop() {
  if (playing === null) return;
  cancelAnimationFrame(playing);
  playing = null;
  find("play").textContent = "Play";
}

/** All strips, one below the other, with their titles. */
function save() {
  const strips = panels.filter((panel) => between(panel, 0) !== null);
  const scaled = strips.map(({ strip, data }) => Math.max(1, Math.round(64 / data.shape[1])));
  const canvas = make("canvas"), context = canvas.getContext("2d"), heading = 32;
  canvas.width = Math.max(...strips.map(({ strip }, i) => strip.width * scaled[i]));
  canvas.height = strips.reduce((sum, { strip }, i) => sum + heading + strip.height * scaled[i], 0);
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  Object.assign(context, { fillStyle: "#000", font: "16px sans-serif", textBaseline: "middle", imageSmoothingEnabled: false });
  let top = 0;
  strips.forEach(({ strip, title }, i) => {
    context.fillText(title, 4, top + heading / 2);
    context.drawImage(strip, 0, top + heading, strip.width * scaled[i], strip.height * scaled[i]);
    top += heading + strip.height * scaled[i];
  });
  canvas.toBlob((blob) => {
    const link = make("a", { href: URL.createObjectURL(blob), download: "morphing.png" });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  });
}

// Draws of the prior -----------------------------------------------------------

/** 64 in every panel: from the same noise where the prior is N(0, I) of as many dimensions. */
function draw() {
  const noise = {};
  for (const panel of panels) {
    const { dim, mixture, data } = panel, [height, width] = data.shape;
    const eps = (noise[dim] ??= Float64Array.from({ length: 64 * dim }, gaussian));
    panel.fallen = [];
    for (let k = 0; k < 64; k++) {
      const z = eps.slice(k * dim, (k + 1) * dim);
      if (mixture) {
        const from = Math.floor((Math.random() * mixture.mean.length) / dim) * dim;
        z.forEach((value, i) => (z[i] = mixture.mean[from + i] + value * mixture.sd[from + i]));
      }
      panel.fallen.push(project(panel, z));
      const left = (k % 8) * (width + GUTTER), top = (k >> 3) * (height + GUTTER);
      panel.decode(`draw ${k}`, z, (image) => paint(panel.drawn, image, data.shape, left, top));
    }
  }
  soon();
}

// Building the page ------------------------------------------------------------

function buildLegend(data) {
  const buttons = data.classes.map(({ name, color, count }, label) => {
    const icon = make("canvas"), button = make("button", { type: "button" });
    icon.setAttribute("aria-hidden", "true");
    const context = wiped(icon, 18, 18);
    context.fillStyle = color;
    context.beginPath();
    SHAPES[label % SHAPES.length](context, 9, 9, 5.5);
    context.fill();
    button.append(icon, make("span", { textContent: name }), make("span", { className: "count", textContent: count.toLocaleString("en") }));
    button.addEventListener("click", () => switchClasses(data, [label], data.hidden.has(label)));
    return button;
  });
  const shown = (text, on) => {
    const button = make("button", { type: "button", className: "several", textContent: text });
    button.addEventListener("click", () => switchClasses(data, [...buttons.keys()], on));
    return button;
  };
  data.buttons = buttons;
  const [size, total] = [data.size, data.total].map((n) => n.toLocaleString("en"));
  const few = size === total ? `${size} test images` : `the first ${size} of ${total} test images`;
  const legend = make("fieldset", { className: "legend" }, make("legend", { textContent: `${data.title}, ${few}` }));
  if (buttons.length) legend.append(shown("all", true), shown("none", false), ...buttons);
  find("legends").append(legend);
  pressButtons(data);
}

function pressButtons(data) {
  data.buttons.forEach((button, label) => button.setAttribute("aria-pressed", !data.hidden.has(label)));
}

function switchClasses(data, labels, on) {
  for (const label of labels) data.hidden[on ? "delete" : "add"](label);
  pressButtons(data);
  for (const panel of panels) if (panel.data === data) [panel.stale, panel.near] = [true, undefined];
  see();
}

function picture(label) {
  const canvas = make("canvas");
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", label);
  return canvas;
}

function buildPanel(panel) {
  const [height, width] = panel.data.shape, image = () => make("canvas", { width, height });
  Object.assign(panel, { back: make("canvas"), front: make("canvas"), here: image(), test: image(), again: image() });
  Object.assign(panel, { hereCaption: make("figcaption"), testCaption: make("figcaption"), near: undefined });
  panel.plot = make("div", { className: "plot", tabIndex: 0 }, panel.back, panel.front);
  panel.plot.setAttribute("role", "application");
  panel.plot.setAttribute("aria-label", `Latent space of ${panel.title}. Arrow keys move the place that is decoded, ` +
    "with Shift faster; Enter takes it as an end of the morphing; plus and minus zoom, 0 shows the whole.");
  const seen = make("div", { className: "seen" },
    make("figure", {}, panel.here, panel.hereCaption),
    make("figure", {}, panel.test, panel.testCaption),
    make("figure", {}, panel.again, make("figcaption", { textContent: "that one, reconstructed" })));
  const plane = { 1: "; one dimension, to the right: height has no meaning, it only sets the classes apart", 2: "" }[panel.dim] ??
    `; the plane in which the means of ${panel.dim} dimensions vary most: a point is an image's place there, ` +
    "and what is decoded lies in the plane, or beside it by the sliders below";
  const heading = make("h3", { textContent: panel.title }), note = make("div", { className: "note", textContent: panel.about + plane });
  const element = make("article", { className: "panel" }, heading, note, panel.plot, seen);
  panel.spread.forEach((sd, k) => element.append(buildSlider(panel, sd, k)));
  find("panels").append(element);
  panel.strip = picture(`Morphing from A to B, ${panel.title}`);
  panel.marker = make("div", { className: "marker", hidden: true });
  panel.stripNote = make("p", { className: "note" });
  panel.strip.addEventListener("click", ({ offsetX }) => {
    stop();
    if (between(panel, 0)) goAlong(alongOf(panel, offsetX / panel.strip.clientWidth));
  });
  find("strips").append(make("div", { className: "strip" }, make("h3", { textContent: panel.title }),
    make("div", { className: "film" }, panel.strip, panel.marker), panel.stripNote));
  panel.drawn = picture(`64 draws of the prior, decoded, ${panel.title}`);
  [panel.drawn.width, panel.drawn.height] = [width, height].map((side) => 8 * (side + GUTTER) - GUTTER);
  const prior = panel.mixture ? `VampPrior of ${panel.mixture.mean.length / panel.dim} Gaussians` : "N(0, I)";
  find("draws").append(make("article", { className: "panel draws" }, make("h3", { textContent: panel.title }),
    make("div", { className: "note", textContent: prior }), panel.drawn));
  const measure = () => { panel.size = { width: panel.plot.clientWidth, height: panel.plot.clientHeight }; };
  new ResizeObserver(() => {
    measure();
    panel.stale = true;
    soon();
  }).observe(panel.plot);
  measure();
  listen(panel);
}

/** Moves along a principal component after the second, up to three standard deviations. */
function buildSlider(panel, sd, k) {
  const value = make("output", { textContent: "0.00" });
  const range = make("input", { type: "range", min: -3 * sd, max: 3 * sd, step: sd / 50, value: 0 });
  range.addEventListener("input", () => {
    panel.further[k] = Number(range.value);
    value.textContent = panel.further[k].toFixed(2);
    goAlong(null);
  });
  return make("label", { className: "range further" }, `principal component ${k + 3}`, range, value);
}

/** Flags, losses and metrics, a column a run; what differs is bold. */
function buildTable() {
  const cell = (name, textContent, scope = "") => make(name, { textContent, ...(scope && { scope }) });
  const table = make("table", {}, make("thead", {}, make("tr", {}, make("td"), ...panels.map(({ title }) => cell("th", title, "col")))));
  for (const title of new Set(panels.flatMap(({ tables }) => tables.map((one) => one.title)))) {
    const found = panels.map(({ tables }) => new Map(tables.find((one) => one.title === title)?.rows));
    const body = make("tbody", {}, make("tr", {}, Object.assign(cell("th", title, "rowgroup"), { colSpan: panels.length + 1 })));
    for (const name of new Set(found.flatMap((rows) => [...rows.keys()]))) {
      const texts = found.map((rows) => rows.get(name) ?? "");
      const className = title === "Flags" && new Set(texts).size > 1 ? "differs" : "";
      body.append(make("tr", { className }, cell("th", name, "row"), ...texts.map((text) => cell("td", text))));
    }
    table.append(body);
  }
  const meanings = Object.assign({}, ...panels.flatMap(({ tables }) => tables.map((one) => one.meanings)));
  const items = Object.entries(meanings).flatMap(([name, text]) => [make("dt", { textContent: name }), make("dd", { textContent: text })]);
  find("tables").append(table);
  if (items.length) find("tables").append(make("details", {}, make("summary", { textContent: "What the metrics mean" }), make("dl", {}, ...items)));
}

/** A, which is looked at, and B: the first images of the first and last class, or the first two. */
function firstEnds() {
  const { classes } = datasets[0], filled = classes.filter(({ count }) => count);
  const pair = filled.length > 1 ? [filled[0].first, filled.at(-1).first] : [0, Math.min(1, datasets[0].size - 1)];
  ends.image = pair.map((image) => ({ image, data: datasets[0] }));
  ends.place = pair.map((image) => placeEnd(pointOf(panels.find(({ data }) => data === datasets[0]), image)));
  [look.x, look.y] = [ends.place[0].x, ends.place[0].y];
}

datasets.forEach(buildLegend);
panels.forEach(buildPanel);
buildTable();
firstEnds();

find("whole").addEventListener("click", () => whole(...panels));
find("together").addEventListener("change", (event) => event.target.checked && setView(moved, moved.view));
for (const radio of document.querySelectorAll("[name=kind]")) {
  radio.addEventListener("change", () => {
    ends.kind = radio.value;
    endsChanged();
  });
}
for (const radio of document.querySelectorAll("[name=end]")) {
  radio.addEventListener("change", () => (ends.next = Number(radio.value)));
}
find("frames").addEventListener("input", (event) => {
  event.target.nextElementSibling.textContent = event.target.value;
  drawStrips();
  if (look.along !== null) goAlong(look.along); // the marker is elsewhere
});
find("along").addEventListener("input", (event) => {
  stop();
  goAlong(Number(event.target.value));
});
find("play").addEventListener("click", () => (playing === null ? play() : stop()));
find("save").addEventListener("click", save);
find("draw").addEventListener("click", () => (find("fallen").checked = true), { once: true }); // till then no mark tells
find("draw").addEventListener("click", draw);
find("fallen").addEventListener("change", soon);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const panel of panels) panel.stale = true;
  soon();
});

endsChanged();
draw();

// For the browser's console: explorer.decode(0, [1, -0.5]) is a promise of the first panel's image,
// explorer.timed(0, 9) of the milliseconds that nine take.
const explorer = {
  panels, look, ends, toScreen,
  between: (index, along) => between(panels[index], along),
  decode: (index, z) => new Promise((show) => panels[index].decode(Symbol("console"), Float64Array.from(z), show)),
  settled: (index) => explorer.decode(index, new Array(panels[index].dim).fill(0)),
  async timed(index, times) {
    const found = [];
    for (let k = 0; k < times; k++) {
      const started = performance.now();
      await explorer.decode(index, Array.from({ length: panels[index].dim }, gaussian));
      found.push(performance.now() - started);
    }
    return found;
  },
};
globalThis.explorer = explorer;
