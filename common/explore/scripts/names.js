// The names of the classes on a plot. A name lies on a point of a dense part of its class.

const MOST_NAMES = 20; // A plot with more classes has no names
const CELL = 14; // pixels; the density of the points is counted in square cells of this side
const HEIGHT = 15; // pixels of a name

/**
 * Return the places where the name of each class may lie, the best place first.
 *
 * `visible` contains the pixels of the visible points of each class. The places are points in cells
 * with at least half as many points of the class as its densest cell. Cells where the class has the
 * largest share of all points come first, so that a name does not lie on another class.
 */
function placesOfNames(panel, visible) {
  const { width, height } = panel.size;
  const columns = Math.ceil(width / CELL) + 3, rows = Math.ceil(height / CELL) + 3;
  const counts = visible.map((points) => countInCells(points, columns, rows));
  const total = new Float32Array(columns * rows);
  for (const each of counts) each.forEach((count, cell) => (total[cell] += count));
  return visible.map(({ lefts, tops }, label) => {
    const own = counts[label], dense = own.reduce((most, count) => Math.max(most, count), 0) / 2;
    const points = new Map(); // the first point of each dense cell
    for (let i = 0; i < lefts.length; i++) {
      const cell = cellOf(lefts[i], tops[i], columns);
      if (own[cell] < dense || points.has(cell)) continue;
      points.set(cell, toPlace(panel, lefts[i], tops[i]));
    }
    const score = (cell) => own[cell] ** 2 / total[cell];
    return [...points.keys()].sort((a, b) => score(b) - score(a)).map((cell) => points.get(cell));
  });
}

/** Return the cell of a point. There is one more row and column of cells around the plot. */
function cellOf(left, top, columns) {
  return Math.floor(top / CELL + 1) * columns + Math.floor(left / CELL + 1);
}

/** Count points in each cell and its eight neighbours, so that single points do not matter. */
function countInCells({ lefts, tops }, columns, rows) {
  const counts = new Float32Array(columns * rows);
  for (let i = 0; i < lefts.length; i++) {
    const cell = cellOf(lefts[i], tops[i], columns);
    for (const row of [-columns, 0, columns]) {
      for (let at = cell + row - 1; at <= cell + row + 1; at++) counts[at]++;
    }
  }
  return counts;
}

/** Write the names where there is room, above the points and the line, beside the badges. */
function drawNames(panel, context) {
  const { classes } = panel.data, placed = [], missing = [];
  Object.assign(context, {
    textAlign: "center", textBaseline: "middle", lineWidth: 4, lineJoin: "round",
    font: "600 12px system-ui, sans-serif", strokeStyle: color("paper"), fillStyle: color("ink"),
  });
  const badges = [0, 1].map((k) => endOf(panel, k)).filter((end) => end).map((end) => {
    const [left, top] = toScreen(panel, end);
    return { left, top, half: BADGE, height: 2 * BADGE };
  });
  panel.namePlaces.forEach((places, label) => {
    if (!places.length) return;
    const { name } = classes[label], text = name.length > 18 ? `${name.slice(0, 17)}…` : name;
    const half = context.measureText(text).width / 2 + 2;
    const box = places.map((place) => toScreen(panel, place))
      .map(([left, top]) => ({ label, left, top, half, height: HEIGHT }))
      .find((one) => isInside(panel, one) && [...badges, ...placed].every((other) =>
        !overlap(one, other)));
    if (!box) return missing.push(name);
    placed.push(box);
    context.strokeText(text, box.left, box.top);
    context.fillText(text, box.left, box.top);
  });
  panel.names = placed;
  const note = classes.length > MOST_NAMES ? "The plot has no room for the names of the classes." :
    missing.length ? `Names without room on the plot: ${missing.map(isolated).join(", ")}` : "";
  if (panel.namesNote.textContent !== note) panel.namesNote.textContent = note;
}

/** Return a name with marks that keep its direction of writing from changing the text around it. */
function isolated(name) {
  return `\u2068${name}\u2069`;
}

function isInside({ size }, { left, top, half, height }) {
  return left >= half && left + half <= size.width &&
    top >= height / 2 && top + height / 2 <= size.height;
}

function overlap(one, other) {
  return Math.abs(one.left - other.left) < one.half + other.half &&
    Math.abs(one.top - other.top) < (one.height + other.height) / 2;
}
