"""Load data sets and pictures, and choose the order in which a run trains on them."""

TITLES = {  # Figures show these titles instead of names
    "fashion_mnist": "Fashion-MNIST",
    "mnist": "MNIST",
    "cifar10": "CIFAR-10",
    "digits": "digits (scikit-learn)",
}
