// Draws from the prior.

const DRAWS = 64, DRAWS_PER_ROW = 8;

/** Decode new draws in all panels. Priors N(0, I) of as many dimensions share the same noise. */
function drawFromPriors() {
  const noise = {};
  for (const panel of panels) {
    const { dim, data } = panel, [height, width] = data.shape;
    const eps = (noise[dim] ??= Float64Array.from({ length: DRAWS * dim }, gaussian));
    panel.draws = [];
    for (let k = 0; k < DRAWS; k++) {
      const z = fromPrior(panel, eps.slice(k * dim, (k + 1) * dim));
      panel.draws.push(project(panel, z));
      const left = (k % DRAWS_PER_ROW) * (width + GUTTER);
      const top = Math.floor(k / DRAWS_PER_ROW) * (height + GUTTER);
      panel.decode(`draw ${k}`, z, (image) => paint(panel.drawn, image, data.shape, left, top));
    }
  }
  requestDrawing();
}

/** Return a draw from a panel's prior, computed from a draw from N(0, I). */
function fromPrior({ dim, mixture }, eps) {
  if (!mixture) return eps;
  const start = Math.floor((Math.random() * mixture.mean.length) / dim) * dim;
  return eps.map((value, i) => mixture.mean[start + i] + value * mixture.sd[start + i]);
}
