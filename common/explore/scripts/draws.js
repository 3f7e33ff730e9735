// Draws from the prior.

const DRAWS = 64, DRAWS_PER_ROW = 8;

let drawsSeed; // a link reproduces the draws from it

/** Return a function that returns random numbers from 0 to 1: the generator mulberry32. */
function makeRandom(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let bits = Math.imul(seed ^ (seed >>> 15), seed | 1);
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61);
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Decode the draws of a seed in all panels. Priors N(0, I) of as many dimensions share their noise. */
function drawFromPriors(seed) {
  drawsSeed = seed;
  const noise = {}, random = makeRandom(seed);
  for (const panel of panels) {
    const { dim, data } = panel, [height, width] = data.shape;
    const eps = (noise[dim] ??= Float64Array.from({ length: DRAWS * dim }, () => gaussian(random)));
    [panel.draws, panel.drawVectors] = [[], []];
    for (let k = 0; k < DRAWS; k++) {
      const z = fromPrior(panel, eps.slice(k * dim, (k + 1) * dim), random);
      panel.drawVectors.push(z);
      panel.draws.push(project(panel, z));
      const left = (k % DRAWS_PER_ROW) * (width + GUTTER);
      const top = Math.floor(k / DRAWS_PER_ROW) * (height + GUTTER);
      panel.decode(`draw ${k}`, z, (image) => paint(panel.drawn, image, data.shape, left, top));
    }
  }
  update();
}

/** Return a draw from a panel's prior, computed from a draw from N(0, I). */
function fromPrior({ dim, mixture }, eps, random) {
  if (!mixture) return eps;
  const start = Math.floor((random() * mixture.mean.length) / dim) * dim;
  return eps.map((value, i) => mixture.mean[start + i] + value * mixture.sd[start + i]);
}
