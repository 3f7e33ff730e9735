// The data of the page, its state, and one decoder per run.

const page = JSON.parse(find("data").textContent);
const datasets = page.datasets.map(unpackDataset);
const panels = page.runs.map(unpackRun); // a panel shows one run

// The decoded place. All panels share x and y. Instead of this place, each panel decodes its own
// latent vector of a test image { image, data } or of a draw from the prior (its index), or its own
// place at a share, from 0 to 1, of the line from A to B.
const cursor = { x: 0, y: 0, image: null, draw: null, along: null };

// The ends A and B of the morphing, as images and as places, and the end that a click sets next.
const ends = { kind: "image", next: 0, image: [null, null], place: [null, null] };

function bytes(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

function floats(base64) {
  return new Float32Array(bytes(base64).buffer);
}

/** Return a data set with its images, the label of each image and the hidden classes. */
function unpackDataset(packed) {
  const sprite = new Image();
  sprite.src = packed.sprite;
  const ready = sprite.decode();
  const labels = new Uint16Array(packed.size);
  packed.classes.forEach(({ first, count }, i) => labels.fill(i, first, first + count));
  const numbers = new Uint32Array(bytes(packed.numbers).buffer); // positions in the test set
  return { ...packed, sprite, ready, labels, numbers, hidden: new Set() };
}

/** Return the panel of a run: its latent vectors, its view and its decoder. */
function unpackRun(packed, index) {
  const means = floats(packed.means), data = datasets[packed.dataset];
  const mixture = packed.mixture && {
    mean: floats(packed.mixture.mean),
    sd: floats(packed.mixture.logvar).map((logvar) => Math.exp(logvar / 2)),
  };
  return {
    ...packed, index, data, means, mixture,
    dim: packed.latentDim,
    points: packed.points ? floats(packed.points) : means,
    view: { ...page.home }, // the middle and half the side of the visible square
    sliders: [],
    offsets: packed.spread.map(() => 0), // along the principal components after the second
    decode: makeDecoder(packed.decoder, data.shape),
    draws: [], // places of the draws from the prior
    drawVectors: [],
    nearest: undefined, // the test image nearest to the cursor; null if all classes are hidden
    stale: true, // whether the points must be drawn again
  };
}

/**
 * Start a worker that decodes latent vectors.
 *
 * Return a function (purpose, z, show) that calls show(image) when z is decoded. A waiting vector
 * is dropped when another one for the same purpose arrives.
 */
function makeDecoder(packed, shape) {
  const code = new Blob([find("decoder").textContent], { type: "text/javascript" });
  const worker = new Worker(URL.createObjectURL(code)), waiting = new Map();
  const layers = packed.map(({ kernel, bias }) => ({ kernel: floats(kernel), bias: floats(bias) }));
  worker.postMessage({ layers, shape });
  let current = null, last = null;
  // The two purposes of the cursor are served before those that have waited longest, but never
  // twice in a row. Otherwise a moving cursor would block the other images.
  function next() {
    const first = { cursor: ["nearest"], nearest: [] }[last] ?? ["cursor", "nearest"];
    last = [...first, ...waiting.keys()].find((purpose) => waiting.has(purpose));
    current = waiting.get(last) ?? null;
    waiting.delete(last);
    if (current) worker.postMessage({ z: current.z });
  }
  worker.onmessage = ({ data }) => {
    current.show(data);
    next();
  };
  worker.onerror = ({ message = "its worker did not start" }) =>
    find("error").append(`A decoder does not run in this browser: ${message}. `);
  return (purpose, z, show) => {
    waiting.set(purpose, { z, show });
    if (!current) next();
  };
}
