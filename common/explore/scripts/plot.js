// Drawing the plot of a panel: a canvas with the points, and above it a canvas with what moves.

const BADGE = 9; // pixels, the radius of the badges A and B

// The plot of a panel ----------------------------------------------------------

/** Return the number of pixels per unit of the latent space. */
function unitOf(panel) {
  return Math.min(panel.size.width, panel.size.height) / 2 / panel.view.half;
}

/** Return the pixels (left, top) of a place. */
function toScreen(panel, { x, y }) {
  const { width, height } = panel.size, unit = unitOf(panel);
  return [width / 2 + (x - panel.view.x) * unit, height / 2 - (y - panel.view.y) * unit];
}

/** Return the place at these pixels. */
function toPlace(panel, left, top) {
  const { width, height } = panel.size, { view } = panel, unit = unitOf(panel);
  return { x: view.x + (left - width / 2) / unit, y: view.y - (top - height / 2) / unit };
}

/** Draw the grid, the prior and the points, and find places for the names of the classes. */
function drawPoints(panel) {
  const { width, height } = panel.size, context = cleared(panel.pointsCanvas, width, height);
  drawTicks(panel, context);
  drawPrior(panel, context);
  const { hidden, classes, size } = panel.data;
  const zoomed = Math.sqrt(page.home.half / panel.view.half);
  const radius = (size > 3000 ? 1.6 : 2.4) * zoomed * Math.sqrt(width / 500);
  const r = Math.min(7, Math.max(1.5, radius));
  const groups = classes.length ? classes : [{ color: color("accent"), first: 0, count: size }];
  const visible = groups.map((group, label) =>
    hidden.has(label) ? { lefts: [], tops: [] } : drawClass(panel, context, group, label, r));
  const hasNames = classes.length && classes.length <= MOST_NAMES;
  panel.namePlaces = hasNames ? placesOfNames(panel, visible) : [];
}

/** Draw the points of a class, and return the pixels of those within the plot. */
function drawClass(panel, context, { color, first, count }, label, r) {
  const { width, height } = panel.size, lefts = [], tops = [];
  const unit = unitOf(panel), [left0, top0] = toScreen(panel, { x: 0, y: 0 });
  context.fillStyle = readable(color);
  context.beginPath();
  for (let i = first; i < first + count; i++) {
    const left = left0 + unit * panel.points[2 * i], top = top0 - unit * panel.points[2 * i + 1];
    if (left < -9 || top < -9 || left > width + 9 || top > height + 9) continue;
    addShape(context, label, left, top, r);
    lefts.push(left);
    tops.push(top);
  }
  context.fill();
  return { lefts, tops };
}

/** Draw a grid at round numbers, the numbers, and the labels of the axes. */
function drawTicks(panel, context) {
  const { width, height } = panel.size, rough = panel.view.half / 3.5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((one) => one * power >= rough) * power;
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  Object.assign(context, { strokeStyle: color("line"), fillStyle: color("faint"), lineWidth: 1 });
  const [low, high] = [toPlace(panel, 0, height), toPlace(panel, width, 0)];
  for (const axis of panel.dim === 1 ? ["x"] : ["x", "y"]) {
    for (let k = Math.ceil(low[axis] / step); k * step <= high[axis]; k++) {
      const [left, top] = toScreen(panel, { x: 0, y: 0, [axis]: k * step });
      const text = (k * step).toFixed(digits);
      if (axis === "x") {
        strokeLine(context, [left, 0], [left, height]);
        context.fillText(text, left + 3, height - 5);
      } else {
        strokeLine(context, [0, top], [width, top]);
        context.fillText(text, 3, top - 3);
      }
    }
  }
  context.textAlign = "right";
  context.fillText(panel.labels[0], width - 5, height - 20, width - 10);
  context.textAlign = "left";
  context.fillText(panel.labels[1], 40, 14, width - 45);
}

function strokeLine(context, from, to) {
  context.beginPath();
  trace(context, from, to);
  context.stroke();
}

/** Draw 1, 2 and 3 sigma of N(0, I), or the means of a VampPrior's Gaussians. */
function drawPrior(panel, context) {
  Object.assign(context, { strokeStyle: color("ink"), fillStyle: color("ink"), lineWidth: 1 });
  if (panel.mixture) return drawMixture(panel, context);
  const { height } = panel.size;
  const [left, top] = toScreen(panel, project(panel, new Array(panel.dim).fill(0)));
  for (const sigma of [1, 2, 3]) {
    const r = sigma * unitOf(panel), diagonal = r * Math.SQRT1_2;
    context.beginPath();
    if (panel.dim === 1) {
      trace(context, [left - r, 0], [left - r, height]);
      trace(context, [left + r, 0], [left + r, height]);
    } else context.arc(left, top, r, 0, 7);
    context.stroke();
    if (panel.dim === 1) context.fillText(`${sigma}σ`, left + r + 3, 28);
    else context.fillText(`${sigma}σ`, left + diagonal + 3, top - diagonal - 3);
  }
}

function drawMixture(panel, context) {
  const { mean } = panel.mixture;
  context.beginPath();
  for (let start = 0; start < mean.length; start += panel.dim) {
    const place = project(panel, mean.subarray(start, start + panel.dim));
    const [left, top] = toScreen(panel, place);
    trace(context, [left - 4, top - 4], [left + 4, top + 4]);
    trace(context, [left - 4, top + 4], [left + 4, top - 4]);
  }
  context.stroke();
}

// What moves -------------------------------------------------------------------

/** Draw the draws from the prior, the line from A to B, the names, and what the cursor shows. */
function drawOverlay(panel) {
  const { width, height } = panel.size, context = cleared(panel.overlay, width, height);
  if (find("showDraws").checked) drawAsterisks(panel, context);
  const both = endsOf(panel);
  if (both) drawLine(context, ...both.map((end) => toScreen(panel, end)));
  drawNames(panel, context);
  [0, 1].forEach((k) => {
    const end = endOf(panel, k);
    if (end) drawBadge(context, "AB"[k], ...toScreen(panel, end));
  });
  if (panel.nearest !== null) drawRing(context, ...toScreen(panel, pointOf(panel, panel.nearest)));
  drawCross(context, ...toScreen(panel, placeOf(panel)));
}

function drawAsterisks(panel, context) {
  Object.assign(context, { strokeStyle: color("ink"), lineWidth: 1.5 });
  context.beginPath();
  for (const place of panel.draws) {
    const [left, top] = toScreen(panel, place);
    for (const angle of [1, 3, 5].map((sixths) => (sixths * Math.PI) / 6)) {
      const [across, down] = [4 * Math.cos(angle), 4 * Math.sin(angle)];
      trace(context, [left - across, top - down], [left + across, top + down]);
    }
  }
  context.stroke();
}

function drawLine(context, from, to) {
  for (const [strokeStyle, lineWidth] of [[color("paper"), 5], [color("ink"), 2]]) {
    Object.assign(context, { strokeStyle, lineWidth });
    strokeLine(context, from, to);
  }
}

function drawBadge(context, letter, left, top) {
  context.beginPath();
  context.arc(left, top, BADGE, 0, 7);
  context.fillStyle = color("ink");
  context.fill();
  const centred = { textAlign: "center", textBaseline: "middle" };
  Object.assign(context, { fillStyle: color("paper"), ...centred });
  context.fillText(letter, left, top + 0.5);
}

function drawRing(context, left, top) {
  Object.assign(context, { strokeStyle: color("ink"), lineWidth: 2 });
  context.beginPath();
  context.arc(left, top, 7, 0, 7);
  context.stroke();
}

function drawCross(context, left, top) {
  for (const [strokeStyle, lineWidth] of [[color("paper"), 4], [color("accent"), 2]]) {
    Object.assign(context, { strokeStyle, lineWidth });
    context.beginPath();
    trace(context, [left - 10, top], [left + 10, top]);
    trace(context, [left, top - 10], [left, top + 10]);
    context.stroke();
  }
}
