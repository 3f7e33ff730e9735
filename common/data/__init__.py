"""Data sets by name, and in what order to train on them."""

TITLES = {"fashion_mnist": "Fashion-MNIST", "mnist": "MNIST", "digits": "digits (scikit-learn)"}
