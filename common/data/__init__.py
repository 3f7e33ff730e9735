"""Data sets and pictures: where the images come from, and in which order a run trains on them."""

TITLES = {  # of data sets in figures; other data sets are called by their names
    "fashion_mnist": "Fashion-MNIST",
    "mnist": "MNIST",
    "cifar10": "CIFAR-10",
    "digits": "digits (scikit-learn)",
}
