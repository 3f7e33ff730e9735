// The legends, one per data set, with buttons that show and hide classes. The help on marks.

/** Add the legend of a data set. Its buttons show and hide the classes. */
function buildLegend(data) {
  data.buttons = data.classes.map((one, label) => makeClassButton(data, one, label));
  const makeButtonForAll = (textContent, isShown) => {
    const button = make("button", { type: "button", className: "several", textContent });
    button.addEventListener("click", () => showClasses(data, [...data.buttons.keys()], isShown));
    return button;
  };
  const [size, total] = [data.size, data.total].map((n) => n.toLocaleString("en"));
  const shown = size === total ? size : `the first ${size} of ${total}`;
  const title = make("legend", { textContent: `${data.title}, ${shown} test images` });
  const legend = make("fieldset", { className: "legend" }, title);
  if (data.buttons.length) {
    legend.append(makeButtonForAll("all", true), makeButtonForAll("none", false), ...data.buttons);
  }
  find("legends").append(legend);
  updateButtons(data);
}

function makeClassButton(data, { name, color, count }, label) {
  const icon = make("canvas");
  icon.setAttribute("aria-hidden", "true");
  drawIcon(icon, color, label);
  const number = make("span", { className: "count", textContent: count.toLocaleString("en") });
  const text = make("span", { textContent: name });
  const button = make("button", { type: "button" }, icon, text, number);
  button.addEventListener("click", () => showClasses(data, [label], data.hidden.has(label)));
  return button;
}

function drawIcon(icon, color, label) {
  const context = cleared(icon, 18, 18);
  context.fillStyle = readable(color);
  context.beginPath();
  addShape(context, label, 9, 9, 5.5);
  context.fill();
}

/** Draw the icons and the plots again, because the colour of the page has changed. */
function redrawColors() {
  for (const { buttons, classes } of datasets) {
    buttons.forEach((button, label) =>
      drawIcon(button.firstElementChild, classes[label].color, label));
  }
  for (const panel of panels) panel.stale = true;
  requestDrawing();
}

function updateButtons(data) {
  data.buttons.forEach((button, label) =>
    button.setAttribute("aria-pressed", !data.hidden.has(label)));
}

/** Show or hide classes in all panels of a data set. */
function showClasses(data, labels, isShown) {
  for (const label of labels) data.hidden[isShown ? "delete" : "add"](label);
  updateButtons(data);
  for (const panel of panels.filter((one) => one.data === data)) {
    [panel.stale, panel.nearest] = [true, undefined];
  }
  update();
}

/** Remove the help on marks of the prior that no plot of this page contains. */
function removeHelpOnMissingMarks() {
  const markOf = ({ mixture, dim }) => (mixture ? "means" : dim === 1 ? "lines" : "circles");
  const marks = new Set(panels.map(markOf));
  for (const help of document.querySelectorAll("[data-mark]")) {
    if (!marks.has(help.dataset.mark)) help.remove();
  }
}
