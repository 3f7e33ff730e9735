// The elements of a run: its panel, its strip and its canvas of draws.

/** Add the elements of a run to the three sections of the page. */
function buildPanel(panel) {
  const heading = () => make("h3", { textContent: panel.title });
  buildPlot(panel, heading());
  buildStrip(panel, heading());
  buildDraws(panel, heading());
  const measure = () => {
    panel.size = { width: panel.plot.clientWidth, height: panel.plot.clientHeight };
  };
  new ResizeObserver(() => {
    measure();
    panel.stale = true;
    requestDrawing();
  }).observe(panel.plot);
  measure();
  buildZoomButtons(panel);
  buildHover(panel);
  listen(panel);
}

function buildPlot(panel, heading) {
  const [height, width] = panel.data.shape, canvas = () => make("canvas", { width, height });
  Object.assign(panel, {
    pointsCanvas: make("canvas"), overlay: make("canvas"),
    decoded: canvas(), decodedCaption: make("figcaption"),
    testImage: canvas(), testCaption: make("figcaption"),
    reconstruction: canvas(),
  });
  const { pointsCanvas, overlay } = panel;
  panel.plot = make("div", { className: "plot", tabIndex: 0 }, pointsCanvas, overlay);
  panel.plot.setAttribute("role", "application");
  panel.plot.setAttribute("aria-label", `Latent space of ${panel.title}. The arrow keys move the ` +
    "decoded place, faster with Shift. Enter sets it as an end of the morphing. Plus and minus " +
    "zoom, and 0 resets the view.");
  const decoded = make("div", { className: "decoded" },
    make("figure", {}, panel.decoded, panel.decodedCaption),
    make("figure", {}, panel.testImage, panel.testCaption),
    make("figure", {}, panel.reconstruction,
      make("figcaption", { textContent: "reconstruction" })));
  panel.stage = make("div", { className: "stage" }, panel.plot, decoded);
  const head = make("header", {}, heading, makeNote(panel.about));
  const sliders = panel.spread.map((sd, k) => makeSlider(panel, sd, k));
  panel.namesNote = makeNote();
  const notes = [panel.namesNote, makeNote(planeNote(panel.dim))];
  const parts = [head, panel.stage, ...notes, ...sliders];
  find("panels").append(make("article", { className: "panel" }, ...parts));
}

/** Return an explanation of a plot if the model does not have two latent dimensions. */
function planeNote(dim) {
  if (dim === 2) return "";
  if (dim === 1) {
    return "The plot shows one latent dimension, from left to right. The height of a point has " +
      "no meaning. It only separates the classes.";
  }
  return `The plot shows the first two principal components of ${dim} latent dimensions. The ` +
    "decoded place lies in this plane, unless you move the sliders below.";
}

/** Return a slider along a principal component, up to three standard deviations from the mean. */
function makeSlider(panel, sd, k) {
  const value = make("output", { textContent: "0.00" });
  const range = { type: "range", min: -3 * sd, max: 3 * sd, step: sd / 50, value: 0 };
  const slider = make("input", range);
  panel.sliders.push(slider);
  slider.addEventListener("input", () => {
    panel.offsets[k] = Number(slider.value);
    value.textContent = panel.offsets[k].toFixed(2);
    moveCursor(cursor);
  });
  const text = `principal component ${k + 3}`;
  return make("label", { className: "range component" }, text, slider, value);
}

function buildStrip(panel, heading) {
  panel.strip = makePicture(`Morphing from A to B, ${panel.title}`);
  panel.marker = make("div", { className: "marker", hidden: true });
  panel.stripNote = make("p", { className: "note" });
  panel.strip.addEventListener("click", ({ offsetX }) => {
    pause();
    if (endsOf(panel)) setAlong(alongAt(panel, offsetX / panel.strip.clientWidth));
  });
  const film = make("div", { className: "film" }, panel.strip, panel.marker);
  find("strips").append(make("div", { className: "strip" }, heading, film, panel.stripNote));
}

function buildDraws(panel, heading) {
  const { mixture, dim, title } = panel, [height, width] = panel.data.shape;
  const sideOf = (side, images) => images * (side + GUTTER) - GUTTER;
  panel.drawn = makePicture(`${DRAWS} decoded draws from the prior, ${title}`);
  panel.drawn.width = sideOf(width, DRAWS_PER_ROW);
  panel.drawn.height = sideOf(height, DRAWS / DRAWS_PER_ROW);
  panel.drawn.addEventListener("click", (event) => findDraw(panel, event));
  const prior = mixture ? `VampPrior of ${mixture.mean.length / dim} Gaussians` : "N(0, I)";
  const parts = [heading, makeNote(prior), panel.drawn];
  find("draws").append(make("article", { className: "panel draws" }, ...parts));
}
