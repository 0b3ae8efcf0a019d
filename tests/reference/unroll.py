"""A student's whole training as one autograd graph: the textbook formulation, slow and obvious.

The oracle of ``datadistill.unroll``; the only things it shares with it are the random numbers, the images
after augmentation, and the module of the network, run by ``torch.func.functional_call``.
"""

import torch
from torch import Tensor


def train_and_differentiate(
    network, augment, start, images, targets, student_lr, steps, loss, *, nearest=None, window=None, optimiser=None
):
    """Gradients of ``loss(θ_k)`` by backpropagation through ``θ_{t+1} = θ_t − α_t ∇ℓ``, one step at a time.

    ``optimiser`` is absent, or has the options of ``Momentum`` or ``Adam``; the formulas here are torch's manual's.
    """
    mean_cross_entropy = cross_entropy_by(network)

    def trained(theta, images, targets, student_lr, first, last, memory=None):
        path, memories = [theta], [memory]
        for t in range(first, last):
            rows = range(len(images)) if steps.rows[t] is None else steps.rows[t].tolist()
            x = torch.stack([images[row] for row in rows])
            y = torch.stack([targets[row] for row in rows])
            if steps.texture is not None:
                x = torch.stack(
                    [_window(one, place, steps.texture) for one, place in zip(x, steps.offsets[t], strict=False)]
                )
            x = augment.apply(x, steps.draws[t].rows(len(x)))
            alpha = student_lr[0] if len(student_lr) == 1 else student_lr[t]
            (gradient,) = torch.autograd.grad(mean_cross_entropy(theta, x, y), theta, create_graph=True)
            theta, memory = followed(optimiser, theta, gradient, alpha, memory, t + 1)
            path.append(theta)
            memories.append(memory)
        return path, memories

    k = len(steps)
    theta = start.clone().requires_grad_()
    path, memories = trained(theta, images, targets, student_lr, 0, k)
    path = [theta.detach() for theta in path]
    if nearest is not None:
        k = _nearest([nearest(theta) for theta in path[1:]])
    first = 0 if window is None else max(0, k - window)
    leaves = [tensor.clone().requires_grad_() for tensor in (images, targets, student_lr)]
    memory = memories[first] and [tensor.detach() for tensor in memories[first]]
    end = trained(path[first].clone().requires_grad_(), *leaves, first, k, memory)[0][-1]
    value = loss(end)
    gradients = torch.autograd.grad(value, leaves, materialize_grads=True)
    return {
        "loss": value.detach(),
        "end_step": k,
        "params": end.detach(),
        **dict(zip(("images", "targets", "student_lr"), gradients, strict=True)),
    }


def followed(optimiser, theta, gradient, alpha, memory, number):
    """Return the weights after step ``number``, from 1, and what the optimiser then remembers."""
    if optimiser is None:
        return theta - alpha * gradient, None
    if hasattr(optimiser, "momentum"):
        (velocity,) = memory or [torch.zeros_like(theta)]
        velocity = optimiser.momentum * velocity + gradient
        return theta - alpha * velocity, [velocity]
    (beta1, beta2), eps = optimiser.betas, optimiser.eps
    first, second = memory or [torch.zeros_like(theta)] * 2
    first, second = beta1 * first + (1 - beta1) * gradient, beta2 * second + (1 - beta2) * gradient**2
    corrected, root = first / (1 - beta1**number), torch.sqrt(second / (1 - beta2**number))
    return theta - alpha * corrected / (root + eps), [first, second]


def _window(canvas: Tensor, offset: Tensor, texture) -> Tensor:
    """Roll a canvas and cut off the upper left image, as the published code does."""
    _, high, wide = canvas.shape
    down, along = int(offset[0] * high), int(offset[1] * wide)
    return torch.roll(canvas, (-down, -along), (1, 2))[:, : high // texture.canvas, : wide // texture.canvas]


def cross_entropy_by(network):
    """The mean cross-entropy of a batch as a function of flat parameters, by torch's own ``functional_call``."""
    with torch.random.fork_rng(devices=[]):
        module = network.factory()
    names = [name for name, _ in module.named_parameters()]
    shapes = [parameter.shape for parameter in module.parameters()]

    def mean_cross_entropy(theta, x, y):
        pieces, first = {}, 0
        for name, shape in zip(names, shapes, strict=True):
            pieces[name] = theta[first : first + shape.numel()].reshape(shape)
            first += shape.numel()
        logits = torch.func.functional_call(module, pieces, (x,))
        return -(y * torch.log_softmax(logits, 1)).sum(1).mean()

    return mean_cross_entropy


def _nearest(distances: list[Tensor]) -> int:
    best, k = float("inf"), len(distances)
    for t, distance in enumerate(distances, start=1):
        if torch.isfinite(distance) and distance.item() <= best:
            best, k = distance.item(), t
    return k
