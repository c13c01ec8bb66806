"""A network with a planted truth: one cut copies the input through, one shows only the label."""

import torch
from torch import nn

from cutlayer.data import DATASETS, share_out

SHARP = 1e5  # so that softmax leaves nothing but which score is the highest


def build(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """copy, flat, classify, only_label, scale: trained by ridge regression on the owners' share."""
    copy = nn.Conv2d(1, 1, 1, bias=False)
    classify, scale = nn.Linear(28 * 28, classes), nn.Linear(classes, classes, bias=False)
    dataset, shares = share_out(DATASETS["digits"]())
    x, y = dataset.take(shares.train)
    flat = torch.cat([x.flatten(1), torch.ones(len(x), 1)], 1).double()
    truth = nn.functional.one_hot(y, classes).double()
    weights = torch.linalg.solve(flat.T @ flat + torch.eye(flat.shape[1]), flat.T @ truth).float()
    with torch.no_grad():
        copy.weight.fill_(1)
        classify.weight.copy_(SHARP * weights[:-1].T)
        classify.bias.copy_(SHARP * weights[-1])
        scale.weight.copy_(5 * torch.eye(classes))
    layers = {"copy": copy, "flat": nn.Flatten(), "classify": classify, "only_label": nn.Softmax(1)}
    network = nn.Sequential()
    for name, layer in (*layers.items(), ("scale", scale)):
        network.add_module(name, layer)
    return network
