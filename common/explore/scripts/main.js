// Build the page, connect its controls, and show the first images.

/** Set A and B to the first images of the first and last class, and the cursor to A. */
function setFirstEnds() {
  const data = datasets[0], filled = data.classes.filter(({ count }) => count);
  const withoutClasses = [0, Math.min(1, data.size - 1)];
  const pair = filled.length > 1 ? [filled[0].first, filled[filled.length - 1].first] : withoutClasses;
  const panel = panels.find((one) => one.data === data);
  ends.image = pair.map((image) => ({ image, data }));
  ends.place = pair.map((image) => placeEnd(pointOf(panel, image)));
  [cursor.x, cursor.y] = [ends.place[0].x, ends.place[0].y];
}

function connectControls() {
  const on = (id, event, action) => find(id).addEventListener(event, action);
  on("resetView", "click", () => resetViews(...panels));
  on("together", "change", ({ target }) => target.checked && setView(lastMoved, lastMoved.view));
  for (const radio of document.querySelectorAll("[name=kind]")) {
    radio.addEventListener("change", () => {
      ends.kind = radio.value;
      endsChanged();
    });
  }
  for (const radio of document.querySelectorAll("[name=end]")) {
    radio.addEventListener("change", () => (ends.next = Number(radio.value)));
  }
  on("frames", "input", ({ target }) => {
    target.nextElementSibling.textContent = target.value;
    decodeStrips();
    if (cursor.along !== null) setAlong(cursor.along); // the marker moves
  });
  on("along", "input", ({ target }) => {
    pause();
    setAlong(Number(target.value));
  });
  on("play", "click", () => (playing === null ? play() : pause()));
  on("save", "click", saveStrips);
  on("undo", "click", undoEnd);
  on("newDraws", "click", () => drawFromPriors(drawsSeed + 1));
  // The first click also marks the draws on the plots, so that the user finds this option
  const mark = () => (find("showDraws").checked = true);
  find("newDraws").addEventListener("click", mark, { once: true });
  on("showDraws", "change", requestDrawing);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redrawColors);
}

datasets.forEach(buildLegend);
removeHelpOnMissingMarks();
panels.forEach(buildPanel);
buildTable();
setFirstEnds();
connectControls();
endsChanged();
drawFromPriors(0);
buildFinder();
startAddress();

// An interface for the tests and for the console of the browser. explorer.decode(0, [1, -0.5])
// returns a promise of an image of the first panel. explorer.timed(0, 9) returns a promise of the
// milliseconds that nine images take.
const explorer = {
  panels, cursor, ends, toScreen,
  between: (index, along) => between(panels[index], along),
  decode: (index, z) => new Promise((show) =>
    panels[index].decode(Symbol("console"), Float64Array.from(z), show)),
  settled: (index) => explorer.decode(index, new Array(panels[index].dim).fill(0)),
  async timed(index, times) {
    const milliseconds = [];
    for (let k = 0; k < times; k++) {
      const started = performance.now();
      await explorer.decode(index, Array.from({ length: panels[index].dim }, () => gaussian()));
      milliseconds.push(performance.now() - started);
    }
    return milliseconds;
  },
};
globalThis.explorer = explorer;
