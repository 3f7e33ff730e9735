// Latent vectors: their places on a plot, the nearest test image, and the line from A to B.

/** Return the latent vector at a place in a panel's plane, moved by the offsets of the sliders. */
function lift(panel, x, y, offsets = panel.offsets) {
  const steps = [x, y, ...offsets];
  return Float64Array.from(panel.origin, (value, i) =>
    steps.reduce((sum, step, k) => sum + step * (panel.axes[k]?.[i] ?? 0), value));
}

/** Return the place of a latent vector in a panel's plane. */
function project(panel, z) {
  const [x, y = 0] = panel.axes.slice(0, 2).map((axis) =>
    axis.reduce((sum, value, i) => sum + value * (z[i] - panel.origin[i]), 0));
  return { x, y };
}

/** Return the latent vector of a test image. */
function meanOf(panel, image) {
  return Float64Array.from(panel.means.subarray(image * panel.dim, (image + 1) * panel.dim));
}

/** Return the place of a test image on a panel's plot. */
function pointOf(panel, image) {
  return { x: panel.points[2 * image], y: panel.points[2 * image + 1] };
}

/** Return the test image with the nearest point among visible classes, or null. */
function nearestImage(panel, { x, y }) {
  let found = null, least = Infinity;
  for (let i = 0; i < panel.data.size; i++) {
    if (panel.data.hidden.has(panel.data.labels[i])) continue;
    const square = (panel.points[2 * i] - x) ** 2 + (panel.points[2 * i + 1] - y) ** 2;
    if (square < least) [found, least] = [i, square];
  }
  return found;
}

/** Return a place as an end of the morphing. It keeps the sliders of all panels. */
function placeEnd({ x, y }) {
  return { x, y, offsets: panels.map(({ offsets }) => [...offsets]) };
}

/** Return the latent vector and the place of end k in a panel, or null if it has none. */
function endOf(panel, k) {
  const end = ends[ends.kind][k];
  if (!end) return null;
  if (ends.kind === "place") {
    return { z: lift(panel, end.x, end.y, end.offsets[panel.index]), x: end.x, y: end.y };
  }
  if (end.data !== panel.data) return null;
  return { z: meanOf(panel, end.image), ...pointOf(panel, end.image) };
}

/** Return both ends of the morphing in a panel, or null if the panel lacks one. */
function endsOf(panel) {
  const both = [endOf(panel, 0), endOf(panel, 1)];
  return both[0] && both[1] && both;
}

/** Return the latent vector at a share, from 0 to 1, of the line from A to B, or null. */
function between(panel, along) {
  const [a, b] = endsOf(panel) ?? [];
  return a ? a.z.map((value, i) => value + along * (b.z[i] - value)) : null;
}

/** Return the test image that the cursor is on, or null if the panel has another data set. */
function cursorImage({ data }) {
  return cursor.image?.data === data ? cursor.image.image : null;
}

/** Return the latent vector that a panel decodes. */
function vectorOf(panel) {
  const image = cursorImage(panel);
  if (image !== null) return meanOf(panel, image);
  if (cursor.draw !== null) return panel.drawVectors[cursor.draw];
  return (cursor.along !== null && between(panel, cursor.along)) || lift(panel, cursor.x, cursor.y);
}

/** Return the place that a panel decodes. */
function placeOf(panel) {
  const image = cursorImage(panel);
  if (image !== null) return pointOf(panel, image);
  if (cursor.draw !== null) return panel.draws[cursor.draw];
  const [a, b] = (cursor.along !== null && endsOf(panel)) || [];
  if (!a) return cursor;
  return { x: a.x + cursor.along * (b.x - a.x), y: a.y + cursor.along * (b.y - a.y) };
}

/** Return a draw from N(0, 1), computed from two random numbers from 0 to 1. */
function gaussian(random = Math.random) {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}
