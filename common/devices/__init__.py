"""How TensorFlow computes: determinism, splitting of batches, several devices and machines."""
