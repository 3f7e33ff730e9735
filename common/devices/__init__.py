"""How TensorFlow computes: determinism, the batch in parts, several devices and machines."""
