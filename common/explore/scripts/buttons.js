// The buttons of a plot: zoom in, zoom out and home.

/** Add the buttons to the top of a panel. On the plot they would hide points. */
function buildZoomButtons(panel) {
  const zoomBy = (factor) => { // about the decoded place, or about the middle if it is not visible
    const { width, height } = panel.size, [left, top] = toScreen(panel, placeOf(panel));
    const isVisible = left >= 0 && left <= width && top >= 0 && top <= height;
    zoom(panel, factor, ...(isVisible ? [left, top] : [width / 2, height / 2]));
  };
  panel.plot.closest(".panel").prepend(make("div", { className: "zoom" },
    makeZoomButton("+", "Zoom in", () => zoomBy(0.5)),
    makeZoomButton("−", "Zoom out", () => zoomBy(2)),
    makeZoomButton("Home", "Home: show all points", () => resetViews(panel))));
}

function makeZoomButton(textContent, title, action) {
  const button = make("button", { type: "button", textContent, title });
  button.setAttribute("aria-label", title);
  button.addEventListener("click", action);
  return button;
}
