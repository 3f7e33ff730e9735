// Mouse, touch and keyboard on a plot.
//
// A mouse moves the cursor when it hovers, and moves the view when it drags. Its wheel zooms with
// Ctrl, or after a click on the plot. Otherwise, it scrolls the page. A finger sets the cursor with
// a tap, and moves it when it starts to move sideways. Other movements of one finger scroll the
// page. Two fingers move the view and zoom.

const SIDEWAYS = 10; // pixels

let scrolledAt = -Infinity; // time of the last scrolling of the page
addEventListener("scroll", () => (scrolledAt = performance.now()), { passive: true });

/** React to the pointers and the keyboard on the plot of a panel. */
function listen(panel) {
  const { plot } = panel, pointers = new Map(); // the last pixels of each pressed pointer
  let isDragged = false;
  const pixelsOf = (event) => {
    const box = plot.getBoundingClientRect();
    return [event.clientX - box.left - plot.clientLeft, event.clientY - box.top - plot.clientTop];
  };
  plot.addEventListener("pointerdown", (event) => {
    if (event.button) return; // not the main button
    if (!pointers.size) isDragged = false;
    pointers.set(event.pointerId, pixelsOf(event));
    plot.setPointerCapture(event.pointerId);
  });
  plot.addEventListener("pointermove", (event) => {
    const now = pixelsOf(event), last = pointers.get(event.pointerId);
    const drags = last && (event.pointerType === "mouse" || pointers.size > 1);
    if (drags && (isDragged || Math.hypot(now[0] - last[0], now[1] - last[1]) > 3)) {
      isDragged = true;
      drag(panel, pointers, event.pointerId, now);
      pointers.set(event.pointerId, now);
    }
    const hovers = !last && playing === null; // hovering does not stop the animation
    const swipes = last && !drags && !isDragged && Math.abs(now[0] - last[0]) > SIDEWAYS;
    if (hovers || swipes) moveCursor(toPlace(panel, ...now));
  });
  plot.addEventListener("pointerup", (event) => {
    const isTouch = event.pointerType !== "mouse" && pointers.size === 1;
    if (isTouch && !isDragged) moveCursor(toPlace(panel, ...pixelsOf(event)));
  });
  plot.addEventListener("touchmove", (event) => { // otherwise two fingers could scroll the page
    if (event.touches.length > 1) event.preventDefault();
  }, { passive: false });
  for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) {
    plot.addEventListener(name, (event) => pointers.delete(event.pointerId));
  }
  plot.addEventListener("wheel", (event) => {
    const isScrolling = document.activeElement !== plot || performance.now() - scrolledAt < 400;
    if (isScrolling && !event.ctrlKey) return; // the user scrolls the page
    event.preventDefault();
    const distance = event.deltaY * (event.deltaMode ? 20 : 1); // from lines to pixels
    zoom(panel, Math.exp(Math.max(-1, Math.min(1, distance * 0.002))), ...pixelsOf(event));
  }, { passive: false });
  listenToClicks(panel, pixelsOf, () => isDragged);
  plot.addEventListener("keydown", (event) => press(panel, event));
  plot.addEventListener("focus", () => { // the browser itself would only scroll to the plot
    if (plot.matches(":focus-visible")) panel.stage.scrollIntoView({ block: "nearest" });
  });
}

/** Set an end of the morphing after a click, and reset the view after a double click. */
function listenToClicks(panel, pixelsOf, wasDragged) {
  let hasChosen = false; // whether the last click set an end
  panel.plot.addEventListener("click", (event) => {
    if (event.detail > 1) return;
    hasChosen = !wasDragged() && chooseEnd(panel, toPlace(panel, ...pixelsOf(event)));
  });
  panel.plot.addEventListener("dblclick", () => {
    if (hasChosen) undoEnd(); // undo its first click
    resetViews(panel);
  });
}

/** Move the view with a pointer, and zoom if there is a second one. */
function drag(panel, pointers, id, now) {
  startDrag();
  const last = pointers.get(id);
  const [other] = [...pointers].filter(([one]) => one !== id).map(([, pixels]) => pixels);
  const unit = unitOf(panel) * (other ? 2 : 1), { x, y, half } = panel.view;
  setView(panel, { x: x - (now[0] - last[0]) / unit, y: y + (now[1] - last[1]) / unit, half });
  if (other) {
    const apart = (pixels) => Math.max(20, Math.hypot(pixels[0] - other[0], pixels[1] - other[1]));
    const middle = [(now[0] + other[0]) / 2, (now[1] + other[1]) / 2];
    zoom(panel, apart(last) / apart(now), ...middle);
  }
}

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

/** React to a key on a plot. The help of the page and the label of the plot list the keys. */
function press(panel, event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const { key } = event, zoomAtCursor = (factor) =>
    zoom(panel, factor, ...toScreen(panel, placeOf(panel)));
  if (ARROWS[key]) {
    const step = (panel.view.half / 40) * (event.shiftKey ? 5 : 1), from = placeOf(panel);
    moveCursor({ x: from.x + ARROWS[key][0] * step, y: from.y + ARROWS[key][1] * step });
    follow(panel);
    find("status").textContent = `${written(panel, cursor)}, ${panel.testCaption.textContent}`;
  } else if (key === "Enter" || key === " ") chooseEnd(panel, placeOf(panel));
  else if (key === "+" || key === "=") zoomAtCursor(0.8);
  else if (key === "-") zoomAtCursor(1.25);
  else if (key === "0" || key === "Home") resetViews(panel);
  else return;
  event.preventDefault();
}
