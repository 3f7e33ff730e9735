// What the panels show: the cursor, what is decoded there, and the visible part of the plots.

let lastMoved = panels[0]; // the panel whose view was set last
let isFrameRequested = false;

/** Return a number with enough digits to tell places apart on the plot. */
function rounded(panel, value) {
  return value.toFixed(Math.max(2, 2 - Math.floor(Math.log10(panel.view.half))));
}

function written(panel, { x, y }) {
  const coordinates = panel.dim === 1 ? [x] : [x, y];
  return `(${coordinates.map((value) => rounded(panel, value)).join(", ")})`;
}

/** Redraw in the next frame. */
function requestDrawing() {
  addressChanged();
  if (isFrameRequested) return;
  isFrameRequested = true;
  requestAnimationFrame(() => {
    isFrameRequested = false;
    draw();
  });
}

/** Draw the points of the plots that are stale, and what moves. */
function draw() {
  for (const panel of panels) {
    if (panel.stale && isDragging()) moveDrawing(panel);
    else if (panel.stale) redraw(panel);
    drawOverlay(panel);
  }
}

function redraw(panel) {
  drawPoints(panel);
  Object.assign(panel, { stale: false, drawnView: panel.view });
  panel.pointsCanvas.style.transform = "";
}

/** Shift and scale the last drawing of the points to the view, which is faster than drawing. */
function moveDrawing(panel) {
  const { pointsCanvas, view, drawnView } = panel, unit = unitOf(panel);
  const right = (drawnView.x - view.x) * unit, down = (view.y - drawnView.y) * unit;
  const scale = drawnView.half / view.half;
  pointsCanvas.style.transform = `translate(${right}px, ${down}px) scale(${scale})`;
}

let dragTimer = null; // it ends a drag when the view has not moved for some time

function isDragging() {
  return dragTimer !== null;
}

/** Move the last drawings instead of drawing, until the views are at rest. */
function startDrag() {
  clearTimeout(dragTimer);
  dragTimer = setTimeout(() => {
    dragTimer = null;
    requestDrawing();
  }, 150);
}

/** Decode the place of the cursor in all panels, and show the nearest test images. */
function update() {
  for (const panel of panels) {
    panel.decode("cursor", vectorOf(panel), (image) => paint(panel.decoded, image, panel.data.shape));
    const place = placeOf(panel);
    panel.decodedCaption.textContent = `decoded at ${written(panel, place)}`;
    showNearest(panel, place);
  }
  requestDrawing();
}

/** Show the test image whose point is nearest to a place, and its reconstruction. */
function showNearest(panel, place) {
  const { data, testImage, reconstruction } = panel;
  const image = cursorImage(panel) ?? nearestImage(panel, place);
  if (image !== panel.nearest) {
    panel.nearest = image;
    if (image === null) {
      for (const canvas of [testImage, reconstruction]) {
        canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
      }
    } else {
      paintTest(testImage, data, image, () => panel.nearest === image);
      // While the cursor moves, `nearest` changes before the decoder is ready. The reconstruction
      // of the last decoded image therefore stays until the next one is decoded.
      panel.decode("nearest", meanOf(panel, image), (pixels) => {
        if (panel.nearest !== null) paint(reconstruction, pixels, data.shape);
      });
    }
  }
  const distance = image === null ? 0 : distanceTo(panel, place, image);
  const away = rounded(panel, distance), note = Number(away) ? ` (${away} away)` : "";
  const name = data.classes.length && image !== null ? data.classes[data.labels[image]].name : null;
  panel.testCaption.textContent = image === null ? "all classes are hidden" :
    `test image ${data.numbers[image]}${note}${name === null ? "" : `: ${name}`}`;
}

/** Return the distance of a test image. With one latent dimension, the height has no meaning. */
function distanceTo(panel, { x, y }, image) {
  const point = pointOf(panel, image);
  return panel.dim === 1 ? Math.abs(point.x - x) : Math.hypot(point.x - x, point.y - y);
}

/** Move the cursor to a place. If `own` names an image or a draw, each panel decodes its own vector. */
function moveCursor(place, own = {}) {
  Object.assign(cursor, bounded(place), { image: null, draw: null }, own);
  setAlong(null);
}

/** Change the views if they hide a place that is decoded. */
function revealCursor() {
  const isHidden = (panel) => {
    const [left, top] = toScreen(panel, placeOf(panel)), { width, height } = panel.size;
    return left < 0 || top < 0 || left > width || top > height;
  };
  if (panels.some(isHidden)) resetViews(...panels);
  panels.filter(isHidden).forEach(follow);
}

/** Return the place within four times the home view that is nearest to a place. */
function bounded({ x, y }) {
  const within = (value, [least, most]) => Math.min(most, Math.max(least, value));
  return { x: within(x, limitsOf("x")), y: within(y, limitsOf("y")) };
}

/** Return the least and the largest coordinate of the cursor on an axis. */
function limitsOf(axis) {
  const reach = 4 * page.home.half;
  return [page.home[axis] - reach, page.home[axis] + reach];
}

/** Set the view of a panel, within limits, or of all panels if they move together. */
function setView(panel, { half, ...middle }) {
  lastMoved = panel;
  for (const one of find("together").checked ? panels : [panel]) {
    one.view = { ...bounded(middle), half: limited(half) };
    one.stale = true;
  }
  update(); // the captions depend on the zoom
}

function limited(half) {
  return Math.min(4 * page.home.half, Math.max(page.home.half / 500, half));
}

/** Zoom by a factor. The place at these pixels stays there. */
function zoom(panel, factor, left, top) {
  const { view } = panel, half = limited(view.half * factor), share = half / view.half;
  const fixed = toPlace(panel, left, top);
  setView(panel, {
    x: fixed.x + (view.x - fixed.x) * share, y: fixed.y + (view.y - fixed.y) * share, half,
  });
}

/** Shift the view so that the cursor is visible. */
function follow(panel) {
  const [left, top] = toScreen(panel, placeOf(panel)), { width, height } = panel.size, edge = 20;
  const beyond = (at, length) => Math.min(0, at - edge) + Math.max(0, at - length + edge);
  const [dx, dy] = [beyond(left, width), beyond(top, height)];
  const { x, y, half } = panel.view, unit = unitOf(panel);
  if (dx || dy) setView(panel, { x: x + dx / unit, y: y - dy / unit, half });
}

function resetViews(...these) {
  for (const panel of these) setView(panel, page.home);
}
