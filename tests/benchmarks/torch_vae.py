"""The two models in PyTorch."""

import itertools
import math

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812


def make(model, images, batch_size, filters, channels_last, compiled):
    """Return a function that trains on a number of batches, as in tensorflow_vae.py.

    Args:
        channels_last: whether weights and images have this memory format.
        compiled: whether torch.compile compiles the loss and its gradients.
    """
    torch.manual_seed(0)
    height, width, channels = images.shape[1:]
    sides = height, width
    first = height // 2 ** len(filters), width // 2 ** len(filters)
    encoder, decoder = nn.Sequential(), nn.Sequential()
    for last, n in itertools.pairwise((channels, *filters)):
        encoder.extend([nn.Conv2d(last, n, 3, 2), nn.ReLU()])
        sides = [(side - 1) // 2 for side in sides]
    outputs = 4 if model == "cvae" else 2
    encoder.extend([nn.Flatten(), nn.Linear(filters[-1] * math.prod(sides), outputs)])
    decoder.extend([nn.Linear(2, filters[0] * math.prod(first)), nn.ReLU()])
    decoder.append(nn.Unflatten(1, (filters[0], *first)))
    for last, n in itertools.pairwise((filters[0], *filters[::-1])):
        layer = nn.ConvTranspose2d(last, n, 3, 2, padding=1, output_padding=1)
        decoder.extend([layer, nn.ReLU()])
    decoder.append(nn.ConvTranspose2d(filters[0], channels, 3, padding=1))
    images = torch.from_numpy(images).permute(0, 3, 1, 2)
    if channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
        encoder = encoder.to(memory_format=torch.channels_last)
        decoder = decoder.to(memory_format=torch.channels_last)
    weights = [*encoder.parameters(), *decoder.parameters()]
    optimizer = torch.optim.Adam(weights, lr=1e-4, eps=1e-8, fused=True)
    loss_of = {"cvae": cvae_loss, "mmd": mmd_loss}[model]

    def compute_loss(x):
        return loss_of(x, encoder, decoder)

    if compiled:
        compute_loss = torch.compile(compute_loss)
    order = torch.randperm(len(images))

    def run(steps):
        total = torch.zeros(())
        for batch in range(steps):
            x = images[order[batch * batch_size :][:batch_size]].float() / 255
            loss = compute_loss(x)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.detach()
        total.item()
        return int(optimizer.state[weights[0]]["step"])

    return run


def normal_loglik(z, mean, logvar):
    """Return the log density (n,) of the rows of z."""
    log2pi = 1.8378770664093453
    return -0.5 * ((z - mean) ** 2 * torch.exp(-logvar) + logvar + log2pi).sum(1)


def cvae_loss(x, encoder, decoder):
    """Return the loss of eager_cvae.py, with the reconstruction summed over the batch."""
    mean, logvar = encoder(x).chunk(2, 1)
    z = torch.randn_like(mean) * torch.exp(0.5 * logvar) + mean
    logpx_z = -F.binary_cross_entropy_with_logits(decoder(z), x, reduction="sum")
    zero = torch.zeros_like(z)
    return -(logpx_z + normal_loglik(z, zero, zero) - normal_loglik(z, mean, logvar)).mean()


def kernel(x, y):
    """Return the kernel (n, n) of the rows of x and y."""
    return torch.exp(-((x[:, None] - y) ** 2).mean(2) / x.shape[1])


def mmd_loss(x, encoder, decoder):
    """Return the loss of mmd_cvae.py: mean squared error and biased MMD."""
    mean = encoder(x)
    preds = torch.sigmoid(decoder(mean))
    true_samples = torch.randn_like(mean)
    mmd = kernel(true_samples, true_samples).mean() + kernel(mean, mean).mean()
    return F.mse_loss(preds, x) + mmd - 2 * kernel(true_samples, mean).mean()
