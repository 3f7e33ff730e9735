// The buttons of a plot: zoom in, zoom out and home.

/** Add the buttons to the top of a panel. On the plot they would hide points. */
function buildZoomButtons(panel) {
  const zoomBy = (factor) => zoom(panel, factor, panel.size.width / 2, panel.size.height / 2);
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
