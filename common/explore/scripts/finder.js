// Finding a test image by its number, a place by its coordinates, and a draw from the prior.

/** Connect the forms below the plots. Browsers check the limits and show an error themselves. */
function buildFinder() {
  const [number, data, x, y] = ["imageNumber", "imageData", "placeX", "placeY"].map(find);
  datasets.forEach(({ title }, k) => data.append(make("option", { textContent: title, value: k })));
  data.hidden = datasets.length === 1;
  const setLimit = () => (number.max = datasets[data.value].size - 1);
  data.addEventListener("change", setLimit);
  setLimit();
  for (const [axis, input] of Object.entries({ x, y })) {
    [input.min, input.max] = limitsOf(axis).map((value) => value.toFixed(1));
  }
  y.disabled = panels.every(({ dim }) => dim === 1);
  y.parentElement.hidden = y.disabled;
  onSubmit("findImage", () => findImage(datasets[data.value], Number(number.value)));
  onSubmit("findPlace", () => {
    moveCursor({ x: Number(x.value), y: y.disabled ? 0 : Number(y.value) });
    revealCursor();
  });
}

function onSubmit(id, action) {
  find(id).addEventListener("submit", (event) => {
    event.preventDefault();
    action();
    const [panel] = panels;
    find("status").textContent = `${written(panel, placeOf(panel))}, ${panel.testCaption.textContent}`;
  });
}

/** Move the cursor to the test image with this number, and show its class. */
function findImage(data, number) {
  const image = data.numbers.indexOf(number), panel = panels.find((one) => one.data === data);
  if (image < 0) return;
  if (data.hidden.has(data.labels[image])) showClasses(data, [data.labels[image]], true);
  moveCursor(pointOf(panel, image), { image: { image, data } });
  revealCursor();
}

/** Move the cursor to the draw that was clicked, and show the plot. */
function findDraw(panel, { offsetX, offsetY }) {
  const { clientWidth, clientHeight } = panel.drawn, rows = DRAWS / DRAWS_PER_ROW;
  const cell = (at, length, cells) => Math.min(cells - 1, Math.floor((at / length) * cells));
  const row = cell(offsetY, clientHeight, rows);
  const draw = row * DRAWS_PER_ROW + cell(offsetX, clientWidth, DRAWS_PER_ROW);
  find("showDraws").checked = true;
  moveCursor(panel.draws[draw], { draw });
  revealCursor();
  panel.plot.closest(".panel").scrollIntoView();
}
