// The buttons on a plot: zoom in, zoom out and home.

/** Add the buttons to the plot of a panel. What the pointer does on them has no effect on the plot. */
function buildZoomButtons(panel) {
  const zoomBy = (factor) => zoom(panel, factor, panel.size.width / 2, panel.size.height / 2);
  const group = make("div", { className: "zoom" },
    makeZoomButton("+", "Zoom in", () => zoomBy(0.5)),
    makeZoomButton("−", "Zoom out", () => zoomBy(2)),
    makeZoomButton("Home", "Home: show all points", () => resetViews(panel)));
  for (const name of ["pointerdown", "pointermove", "click", "dblclick", "keydown"]) {
    group.addEventListener(name, (event) => event.stopPropagation());
  }
  panel.plot.append(group);
}

function makeZoomButton(textContent, title, action) {
  const button = make("button", { type: "button", textContent, title });
  button.setAttribute("aria-label", title);
  button.addEventListener("click", action);
  return button;
}
