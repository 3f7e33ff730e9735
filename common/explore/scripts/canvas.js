// Painting on canvases: images, and the marks of the classes.

const GUTTER = 2; // pixels between the images on one canvas

/** Paint an image with intensities from 0 to 1, in the order (height, width, channels). */
function paint(canvas, image, [height, width, channels], left = 0, top = 0) {
  const pixels = new ImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    for (let k = 0; k < 3; k++) {
      pixels.data[4 * i + k] = Math.round(255 * image[i * channels + (channels === 3 ? k : 0)]);
    }
    pixels.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(pixels, left, top);
}

/** Paint a test image when the sprite is decoded, if isWanted() is then true. */
async function paintTest(canvas, data, image, isWanted) {
  const [height, width] = data.shape;
  const left = (image % data.columns) * width, top = Math.floor(image / data.columns) * height;
  await data.ready;
  if (!isWanted()) return;
  const context = canvas.getContext("2d");
  context.drawImage(data.sprite, left, top, width, height, 0, 0, width, height);
}

/** Clear a canvas and return its context. Its unit is a CSS pixel, its pixels are the screen's. */
function cleared(canvas, width, height) {
  const scale = devicePixelRatio || 1, context = canvas.getContext("2d");
  const [across, down] = [Math.round(width * scale), Math.round(height * scale)];
  const isNew = canvas.width !== across || canvas.height !== down;
  if (isNew) [canvas.width, canvas.height] = [across, down];
  context.setTransform(scale, 0, 0, scale, 0, 0);
  if (!isNew) context.clearRect(0, 0, width, height);
  return Object.assign(context, {
    font: "12px system-ui, sans-serif", textAlign: "left", textBaseline: "alphabetic",
    lineJoin: "miter",
  });
}

/** Return a colour of the style sheet, which differs between light and dark mode. */
function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/** Return the relative luminance, from 0 to 1, of a colour (red, green, blue) from 0 to 255. */
function luminance(rgb) {
  const linear = rgb.map((value) => value / 255)
    .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
  return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
}

/** Return a colour #rrggbb, made darker or lighter until its contrast with the paper is 3 : 1. */
function readable(hex) {
  const parse = (text) => [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16));
  const back = luminance(parse(color("paper"))), end = back > 0.5 ? 0 : 255;
  const contrast = (rgb) => {
    const [dark, light] = [luminance(rgb), back].sort((a, b) => a - b);
    return (light + 0.05) / (dark + 0.05);
  };
  let rgb = parse(hex);
  while (contrast(rgb) < 3) rgb = rgb.map((value) => Math.round(value + 0.04 * (end - value)));
  return `rgb(${rgb.join(", ")})`;
}

/** Add a closed line through points to the path. */
function trace(context, [x, y], ...others) {
  context.moveTo(x, y);
  for (const [toX, toY] of others) context.lineTo(toX, toY);
  context.closePath();
}

/** One function per shape. Each one adds an outline with a radius of about r to the path. */
const SHAPES = [
  function disc(context, x, y, r) {
    context.moveTo(x + r, y);
    context.arc(x, y, r, 0, 7);
  },
  function square(context, x, y, r) {
    context.rect(x - 0.9 * r, y - 0.9 * r, 1.8 * r, 1.8 * r);
  },
  function triangle(context, x, y, r) {
    trace(context, [x, y - 1.2 * r], [x + 1.1 * r, y + 0.8 * r], [x - 1.1 * r, y + 0.8 * r]);
  },
  function diamond(context, x, y, r) {
    trace(context, [x, y - 1.3 * r], [x + 1.3 * r, y], [x, y + 1.3 * r], [x - 1.3 * r, y]);
  },
  function cross(context, x, y, r) {
    const [far, near] = [r, 0.6 * r];
    trace(context, [x - far, y - near], [x - near, y - far],
      [x + far, y + near], [x + near, y + far]);
    trace(context, [x + near, y - far], [x + far, y - near],
      [x - near, y + far], [x - far, y + near]);
  },
  function plus(context, x, y, r) {
    context.rect(x - 1.2 * r, y - 0.4 * r, 2.4 * r, 0.8 * r);
    context.rect(x - 0.4 * r, y - 1.2 * r, 0.8 * r, 2.4 * r);
  },
  function wedge(context, x, y, r) {
    trace(context, [x, y + 1.2 * r], [x + 1.1 * r, y - 0.8 * r], [x - 1.1 * r, y - 0.8 * r]);
  },
  function ring(context, x, y, r) { // the inner circle runs the other way, which makes a hole
    context.moveTo(x + 1.1 * r, y);
    context.arc(x, y, 1.1 * r, 0, 7);
    context.moveTo(x + 0.5 * r, y);
    context.arc(x, y, 0.5 * r, 7, 0, true);
  },
  function frame(context, x, y, r) {
    const hole = 0.45 * r;
    context.rect(x - r, y - r, 2 * r, 2 * r);
    trace(context, [x - hole, y - hole], [x - hole, y + hole],
      [x + hole, y + hole], [x + hole, y - hole]);
  },
  function bar(context, x, y, r) {
    context.rect(x - 1.3 * r, y - 0.4 * r, 2.6 * r, 0.8 * r);
  },
];

/** Add the shape of a class to the path. */
function addShape(context, label, x, y, r) {
  SHAPES[label % SHAPES.length](context, x, y, r);
}
