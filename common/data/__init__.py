"""Load data sets and folders of pictures, and shuffle the images for the training."""

TITLES = {  # Figures show these titles instead of the names of the data sets
    "fashion_mnist": "Fashion-MNIST",
    "mnist": "MNIST",
    "cifar10": "CIFAR-10",
    "digits": "digits (scikit-learn)",
}
