"""Data sets by name, and in what order to train on them."""

TITLES = {
    "fashion_mnist": "Fashion-MNIST",
    "mnist": "MNIST",
    "cifar10": "CIFAR-10",
    "digits": "digits (scikit-learn)",
}
