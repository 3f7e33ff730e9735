"""Control how TensorFlow computes: determinism, parts of batches, several devices and machines."""
