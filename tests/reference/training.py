"""Ordinary training as the published codes write it: a module, ``torch.optim.SGD``, a loop over epochs.

The oracle of ``datadistill.training``; it is handed the batches, so that only the arithmetic is compared.
"""

import copy

import torch
from torch import nn
from torch.nn import functional as F

from datadistill.networks import BatchNorm


def as_module(network, params):
    """An ordinary module with these parameters; batch norm is torch's own, running statistics and all."""
    with torch.random.fork_rng(devices=[]):
        module = network.factory()
    module = module.to(params.dtype)
    with torch.no_grad():
        for parameter, piece in zip(module.parameters(), network.tensors(params), strict=True):
            parameter.copy_(piece)
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, BatchNorm):
                theirs = nn.BatchNorm2d(child.channels).to(params.dtype)
                theirs.weight, theirs.bias = child.weight, child.bias
                setattr(parent, name, theirs)
    return module.train()


def train(module, epochs, *, lr, momentum=0.0, weight_decay=0.0, drop_before=None, forget=False):
    """Train on ``epochs``, a list of lists of batches; return (params, loss) after every epoch.

    ``drop_before``: the epoch, from 0, that is the first with a tenth of the step size. ``forget``: whether a
    new optimiser is made then.
    """
    optimiser = torch.optim.SGD(module.parameters(), lr=lr, momentum=momentum, weight_decay=weight_decay)
    after = []
    for number, batches in enumerate(epochs):
        if number == drop_before:
            lr *= 0.1
            for group in optimiser.param_groups:
                group["lr"] = lr
            if forget:
                optimiser = torch.optim.SGD(module.parameters(), lr=lr, momentum=momentum, weight_decay=weight_decay)
        total, images = 0.0, 0
        for x, y in batches:
            optimiser.zero_grad()
            loss = F.cross_entropy(module(x), y)
            loss.backward()
            optimiser.step()
            total, images = total + loss.item() * len(x), images + len(x)
        after.append((flat(module), total / images))
    return after


def train_with_adam(module, epochs, *, lr, betas, eps, decay=0.0):
    """As :func:`train`, with ``torch.optim.Adam``; return the parameters after every epoch."""
    optimiser = torch.optim.Adam(module.parameters(), lr=lr, betas=betas, eps=eps, weight_decay=decay)
    after = []
    for batches in epochs:
        for x, y in batches:
            optimiser.zero_grad()
            F.cross_entropy(module(x), y).backward()
            optimiser.step()
        after.append(flat(module))
    return after


def in_order(module, images, targets, order, rates, repeats):
    """Dataset Distillation's test: a gradient step on every batch, with its own step size; return the parameters."""
    for _ in range(repeats):
        for rows, rate in zip(order, rates, strict=True):
            loss = F.cross_entropy(module(images[rows]), targets[rows])
            gradients = torch.autograd.grad(loss, list(module.parameters()))
            with torch.no_grad():
                for weight, gradient in zip(module.parameters(), gradients, strict=True):
                    weight.sub_(rate * gradient)
    return flat(module)


def train_with_gsam(module, epochs, *, lr, rho, alpha, momentum=0.0, weight_decay=0.0):
    """As :func:`train`, with adaptive GSAM, tensor by tensor, as its authors write it."""
    optimiser = torch.optim.SGD(module.parameters(), lr=lr, momentum=momentum, weight_decay=weight_decay)
    after, weights = [], list(module.parameters())

    def gradients(x, y):
        optimiser.zero_grad()
        loss = F.cross_entropy(module(x), y)
        loss.backward()
        return [w.grad.clone() for w in weights], loss.item()

    for batches in epochs:
        total, images = 0.0, 0
        for x, y in batches:
            old, loss = gradients(x, y)
            length = torch.sqrt(sum(((w * g) ** 2).sum() for w, g in zip(weights, old, strict=True)))
            kept = [w.detach().clone() for w in weights]
            with torch.no_grad():
                for w, g in zip(weights, old, strict=True):
                    w.add_(rho * g * w**2 / length)
            new, _ = gradients(x, y)
            inner = sum((a * b).sum() for a, b in zip(old, new, strict=True))
            norms = [torch.sqrt(sum((g**2).sum() for g in them)) for them in (old, new)]
            cosine = inner / (norms[0] * norms[1])
            with torch.no_grad():
                for w, before, a, b in zip(weights, kept, old, new, strict=True):
                    w.copy_(before)
                    vertical = a - cosine * norms[0] * b / norms[1]
                    w.grad.copy_(b - alpha * vertical)
            optimiser.step()
            total, images = total + loss * len(x), images + len(x)
        after.append((flat(module), total / images))
    return after


def evaluate_synset(module, epoch_of, *, epochs, lr):
    """The evaluation loop of DC, MTT and ATT, line for line: E + 1 epochs, a drop after the one of index E // 2 + 1.

    ``epoch_of(ep)`` gives the batches of epoch ``ep``.
    """
    net, Epoch, lr = copy.deepcopy(module), int(epochs), float(lr)
    lr_schedule = [Epoch // 2 + 1]
    optimizer = torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9, weight_decay=0.0005)
    rates = []
    for ep in range(Epoch + 1):
        rates.append(lr)
        for x, y in epoch_of(ep):
            loss = F.cross_entropy(net(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if ep in lr_schedule:
            lr *= 0.1
            optimizer = torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9, weight_decay=0.0005)
    return flat(net), rates


def flat(module):
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


def running_statistics(module):
    norms = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
    return torch.cat([moment for norm in norms for moment in (norm.running_mean, norm.running_var)])
