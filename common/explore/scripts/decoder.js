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
  for (let i = 0, at = 0; i < height; i++) {
    for (let j = 0; j < width; j++) {
      for (let channel = 0; channel < channels; channel++, at++) {
        const value = x[at];
        if (value === 0) continue; // after a ReLU, about half of the values are 0
        for (let down = 0; down < 3; down++) {
          const to = ((i * stride + down) * across + j * stride) * filters;
          const from = (channel * 3 + down) * row;
          for (let k = 0; k < row; k++) canvas[to + k] += value * kernel[from + k];
        }
      }
    }
  }
  const out = new Float64Array(stride * height * stride * width * filters);
  const crop = stride === 1 ? 1 : 0, line = stride * width * filters;
  for (let at = 0; at < out.length; at++) {
    const i = Math.floor(at / line) + crop, rest = (at % line) + crop * filters;
    out[at] = activation(canvas[i * across * filters + rest] + bias[at % filters]);
  }
  return out;
}

/** Return the intensities (height, width, channels), from 0 to 1, of a latent vector. */
function decode(z) {
  const [height, width] = shape;
  let x = dense(z, layers.dense);
  x = convTranspose(x, [height / 4, width / 4], { ...layers.deconv1, stride: 2 }, relu);
  x = convTranspose(x, [height / 2, width / 2], { ...layers.deconv2, stride: 2 }, relu);
  return convTranspose(x, [height, width], { ...layers.deconv3, stride: 1 }, sigmoid);
}

onmessage = ({ data }) => {
  if (data.layers) {
    ({ layers, shape } = data);
    for (const layer of Object.values(layers)) { // doubles need no conversion in the loops
      layer.kernel = Float64Array.from(layer.kernel);
      layer.bias = Float64Array.from(layer.bias);
    }
  } else {
    const image = Float32Array.from(decode(data.z));
    postMessage(image, [image.buffer]);
  }
};
