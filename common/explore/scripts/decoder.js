"use strict";
// A worker that computes the images of latent vectors with the weights of one run.
//
// Weights are as in Keras, except that kernels of convolutions are (channels, 3, 3, filters).

let layers, shape;

const relu = (value) => (value > 0 ? value : 0);
const sigmoid = (value) => 1 / (1 + Math.exp(-value));

/** Return Keras's Dense layer with a ReLU, for one vector. */
function dense(x, { kernel, bias }) {
  const out = Float64Array.from(bias), n = out.length;
  for (let i = 0; i < x.length; i++) {
    for (let j = 0; j < n; j++) out[j] += x[i] * kernel[i * n + j];
  }
  return out.map(relu);
}

/**
 * Return Keras's Conv2DTranspose with a 3 x 3 kernel and padding "same".
 *
 * It maps (height, width, channels) to (stride * height, stride * width, filters). Each pixel is
 * added to nine pixels of a larger canvas, which is then cropped. With a stride of 2, the last row
 * and column are cropped. With a stride of 1, one pixel is cropped on each side.
 */
function convTranspose(x, [height, width], { kernel, bias, stride }, activation) {
  const filters = bias.length, channels = x.length / height / width;
  const across = (width - 1) * stride + 3, row = 3 * filters;
  const canvas = new Float64Array(((height - 1) * stride + 3) * across * filters);
  const used = new Int32Array(channels + 3), values = new Float64Array(channels + 3);
  for (let i = 0, at = 0; i < height; i++) {
    for (let j = 0; j < width; j++, at += channels) {
      let n = 0; // after a ReLU, about half of the values are 0
      for (let channel = 0; channel < channels; channel++) {
        if (x[at + channel] === 0) continue;
        used[n] = 3 * row * channel;
        values[n++] = x[at + channel];
      }
      values.fill(0, n, n + 3);
      for (let m = 0; m < n; m += 4) { // four channels at once, for speed
        const a = values[m], b = values[m + 1], c = values[m + 2], d = values[m + 3];
        for (let down = 0; down < 3; down++) {
          let to = ((i * stride + down) * across + j * stride) * filters;
          let fromA = used[m] + down * row, fromB = used[m + 1] + down * row;
          let fromC = used[m + 2] + down * row, fromD = used[m + 3] + down * row;
          for (const end = to + row; to < end; to++) {
            canvas[to] += a * kernel[fromA++] + b * kernel[fromB++] + c * kernel[fromC++]
              + d * kernel[fromD++];
          }
        }
      }
    }
  }
  const out = new Float64Array(stride * height * stride * width * filters);
  const crop = stride === 1 ? 1 : 0;
  for (let i = 0, at = 0; i < stride * height; i++) {
    let from = ((i + crop) * across + crop) * filters;
    for (let j = 0; j < stride * width; j++) {
      for (let k = 0; k < filters; k++) out[at++] = activation(canvas[from++] + bias[k]);
    }
  }
  return out;
}

/** Return the intensities (height, width, channels), from 0 to 1, of a latent vector. */
function decode(z) {
  const [first, ...others] = layers, last = others.pop();
  let size = shape.slice(0, 2).map((side) => side / 2 ** others.length);
  let x = dense(z, first);
  for (const layer of others) { // each doubles the height and the width
    x = convTranspose(x, size, { ...layer, stride: 2 }, relu);
    size = size.map((side) => 2 * side);
  }
  return convTranspose(x, size, { ...last, stride: 1 }, sigmoid);
}

onmessage = ({ data }) => {
  if (data.layers) {
    ({ layers, shape } = data);
    for (const layer of layers) { // doubles need no conversion in the loops
      layer.kernel = Float64Array.from(layer.kernel);
      layer.bias = Float64Array.from(layer.bias);
    }
  } else {
    const image = Float32Array.from(decode(data.z));
    postMessage(image, [image.buffer]);
  }
};
