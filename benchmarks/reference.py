"""The baseline, written the way the published codes are: eager, ``nn.Module``, per-op DSA, ``DataLoader``.

It is what users of those codes run, neither slowed down nor improved. It takes the random numbers of DSA as
arguments, so that the other side of a comparison can be given the same ones, and leaves out what the
published MTT loop does besides: building a network that is never used, reading files, logging.
"""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

RATIO_SCALE = 1.2
DEGREES = 15.0
RATIO_CROP = 0.125
RATIO_CUTOUT = 0.5


class ConvNet(nn.Module):
    """Blocks of convolution, instance norm, ReLU in place and average pooling; one linear layer."""

    def __init__(self, depth: int, width: int, *, channels: int = 3, size: int = 32, classes: int = 10) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for block in range(depth):
            layers.append(nn.Conv2d(width if block else channels, width, kernel_size=3, padding=1))
            layers.append(nn.GroupNorm(width, width, affine=True))
            layers.append(nn.ReLU(inplace=True))
            layers.append(nn.AvgPool2d(kernel_size=2, stride=2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(width * (size >> depth) ** 2, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        out = self.features(x)
        logits: Tensor = self.classifier(out.view(out.size(0), -1))
        return logits


class FlatModule(nn.Module):
    """A module whose weights are views of one vector, given with every call."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.places = [(layer, name) for layer in module.modules() for name, _ in layer.named_parameters(recurse=False)]
        parameters = [getattr(layer, name) for layer, name in self.places]
        self.sizes = [parameter.numel() for parameter in parameters]
        self.shapes = [parameter.shape for parameter in parameters]
        for layer, name in self.places:
            delattr(layer, name)

    @contextmanager
    def weights(self, flat: Tensor) -> Iterator[None]:
        """Let the layers read their weights from ``flat``."""
        for (layer, name), piece, shape in zip(self.places, flat.split(self.sizes), self.shapes, strict=True):
            setattr(layer, name, piece.view(shape))
        yield
        for layer, name in self.places:
            setattr(layer, name, None)

    def forward(self, x: Tensor, flat: Tensor) -> Tensor:
        """Return the logits."""
        with self.weights(flat):
            logits: Tensor = self.module(x)
        return logits


# DSA. Every function takes images and, per image, numbers in [0, 1) of the images' dtype.


def brightness(x: Tensor, u: Tensor) -> Tensor:
    return x + (u.view(-1, 1, 1, 1) - 0.5)


def saturation(x: Tensor, u: Tensor) -> Tensor:
    mean = x.mean(dim=1, keepdim=True)
    return (x - mean) * (u.view(-1, 1, 1, 1) * 2.0) + mean


def contrast(x: Tensor, u: Tensor) -> Tensor:
    mean = x.mean(dim=[1, 2, 3], keepdim=True)
    return (x - mean) * (u.view(-1, 1, 1, 1) + 0.5) + mean


def flip(x: Tensor, u: Tensor) -> Tensor:
    return torch.where(u.view(-1, 1, 1, 1) < 0.5, x.flip(3), x)


def crop(x: Tensor, u: Tensor, v: Tensor) -> Tensor:
    shift_x, shift_y = int(x.size(2) * RATIO_CROP + 0.5), int(x.size(3) * RATIO_CROP + 0.5)
    move_x = _whole(u, 2 * shift_x + 1).view(-1, 1, 1) - shift_x
    move_y = _whole(v, 2 * shift_y + 1).view(-1, 1, 1) - shift_y
    batch, grid_x, grid_y = _mesh(x, x.size(2), x.size(3))
    grid_x = torch.clamp(grid_x + move_x + 1, 0, x.size(2) + 1)
    grid_y = torch.clamp(grid_y + move_y + 1, 0, x.size(3) + 1)
    padded = F.pad(x, [1, 1, 1, 1])
    return padded.permute(0, 2, 3, 1).contiguous()[batch, grid_x, grid_y].permute(0, 3, 1, 2)


def cutout(x: Tensor, u: Tensor, v: Tensor) -> Tensor:
    size_x, size_y = int(x.size(2) * RATIO_CUTOUT + 0.5), int(x.size(3) * RATIO_CUTOUT + 0.5)
    centre_x = _whole(u, x.size(2) + 1 - size_x % 2).view(-1, 1, 1)
    centre_y = _whole(v, x.size(3) + 1 - size_y % 2).view(-1, 1, 1)
    batch, grid_x, grid_y = _mesh(x, size_x, size_y)
    grid_x = torch.clamp(grid_x + centre_x - size_x // 2, min=0, max=x.size(2) - 1)
    grid_y = torch.clamp(grid_y + centre_y - size_y // 2, min=0, max=x.size(3) - 1)
    mask = torch.ones(x.size(0), x.size(2), x.size(3), dtype=x.dtype, device=x.device)
    mask[batch, grid_x, grid_y] = 0
    return x * mask.unsqueeze(1)


def scale(x: Tensor, u: Tensor, v: Tensor) -> Tensor:
    sx = u.cpu() * (RATIO_SCALE - 1 / RATIO_SCALE) + 1 / RATIO_SCALE
    sy = v.cpu() * (RATIO_SCALE - 1 / RATIO_SCALE) + 1 / RATIO_SCALE
    return _resample(x, [[[sx[i], 0, 0], [0, sy[i], 0]] for i in range(x.size(0))])


def rotate(x: Tensor, u: Tensor) -> Tensor:
    a = (u.cpu() - 0.5) * 2 * DEGREES / 180 * math.pi
    rows = [[[torch.cos(a[i]), torch.sin(-a[i]), 0], [torch.sin(a[i]), torch.cos(a[i]), 0]] for i in range(x.size(0))]
    return _resample(x, rows)


def _resample(x: Tensor, matrices: list[Any]) -> Tensor:
    theta = torch.tensor(matrices, dtype=x.dtype)
    grid = F.affine_grid(theta, list(x.shape), align_corners=True).to(x.device)
    return F.grid_sample(x, grid, align_corners=True)


def _whole(u: Tensor, count: int) -> Tensor:
    return (u * count).long().clamp(max=count - 1)


def _mesh(x: Tensor, height: int, width: int) -> list[Tensor]:
    axes = [torch.arange(size, device=x.device) for size in (x.size(0), height, width)]
    return list(torch.meshgrid(*axes, indexing="ij"))


DSA: dict[str, list[tuple[Any, int]]] = {
    "color": [(brightness, 1), (saturation, 1), (contrast, 1)],
    "crop": [(crop, 2)],
    "cutout": [(cutout, 2)],
    "flip": [(flip, 1)],
    "scale": [(scale, 2)],
    "rotate": [(rotate, 1)],
}


def augment(x: Tensor, operation: str, uniforms: Tensor) -> Tensor:
    """Return ``x`` after one operation for the whole batch, with the numbers ``[n, u]`` of every image."""
    numbers = list(uniforms.to(x.dtype).unbind(1))
    for function, count in DSA[operation]:
        x = function(x, *numbers[:count])
        numbers = numbers[count:]
    return x.contiguous()


def augment_at_random(x: Tensor) -> Tensor:
    """Return ``x`` after one operation, drawn from the global generator as its numbers are."""
    names = list(DSA)
    operation = names[int(torch.randint(len(names), (1,)).item())]
    return augment(x, operation, torch.rand(x.size(0), 3, device=x.device))


def rolled(canvases: Tensor, corners: Tensor) -> Tensor:
    """Return the upper left quarter of every canvas, rolled so that it begins at its corner."""
    size = canvases.shape[2] // 2
    pairs = zip(canvases, corners.tolist(), strict=True)
    return torch.stack([torch.roll(image, (-down, -along), (1, 2))[:, :size, :size] for image, (down, along) in pairs])


class TrajectoryMatching:
    """The outer loop of MTT and ATT: unrolled SGD with ``create_graph``, two optimisers.

    For ATT the graph of all steps is kept as well, and the end point is the step with the smallest sum of absolute
    differences from the target.

    Attributes:
        images: The synthetic images.
        student_lr: The learned step size.
    """

    def __init__(
        self,
        network: nn.Module,
        images: Tensor,
        labels: Tensor,
        start: Tensor,
        target: Tensor,
        *,
        steps: int,
        nearest: bool = False,
    ) -> None:
        self.network = FlatModule(network)
        self.images = images.clone().requires_grad_()
        self.student_lr = torch.tensor(0.01, dtype=images.dtype, device=images.device, requires_grad=True)
        self.labels, self.start, self.target, self.steps = labels, start, target, steps
        self.nearest = nearest
        self.optimizers = (
            torch.optim.SGD([self.images], lr=1000.0, momentum=0.5),
            torch.optim.SGD([self.student_lr], lr=1e-5, momentum=0.5),
        )

    def gradient(self, draws: Any, corners: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the gradients of images and step size.

        Args:
            draws: Per step an operation and its numbers (:class:`datadistill.augment.Draws`).
            corners: Of textures, per step and canvas, how far the canvas is rolled, ``[t n 2]``.
        """
        params = [self.start.clone().requires_grad_()]
        for step in range(self.steps):
            seen = self.images if corners is None else rolled(self.images, corners[step])
            x = augment(seen, draws[step].operations[0], draws[step].uniforms)
            loss = F.cross_entropy(self.network(x, params[-1]), self.labels)
            (gradient,) = torch.autograd.grad(loss, params[-1], create_graph=True)
            params.append(params[-1] - self.student_lr * gradient)
        end = params[-1]
        if self.nearest:
            distances = [F.l1_loss(after, self.target, reduction="sum").item() for after in params[1:]]
            end = params[1 + min(range(self.steps), key=distances.__getitem__)]
        distance = F.mse_loss(end, self.target, reduction="sum")
        distance = distance / F.mse_loss(self.start, self.target, reduction="sum")
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        distance.backward()
        assert self.images.grad is not None and self.student_lr.grad is not None
        return self.images.grad, self.student_lr.grad

    def iterate(self, draws: Any, corners: Tensor | None = None) -> None:
        """Take one outer iteration."""
        self.gradient(draws, corners)
        for optimizer in self.optimizers:
            optimizer.step()


class Distillation:
    """The outer loop of Dataset Distillation: every step's graph is kept until the way back has passed it.

    Attributes:
        images: The synthetic images, one batch per first index.
        raw_lr: What a softplus makes the step sizes of.
    """

    def __init__(self, network: nn.Module, images: Tensor, labels: Tensor, *, passes: int, lr: float = 0.02) -> None:
        self.network = FlatModule(network)
        self.images = images.clone().requires_grad_()
        self.labels, self.steps = labels, len(images) * passes
        raw = math.log(math.expm1(lr))
        self.raw_lr = torch.full((self.steps,), raw, dtype=images.dtype, device=images.device, requires_grad=True)
        self.optimizer = torch.optim.Adam([self.images, self.raw_lr], lr=0.01, betas=(0.5, 0.999))

    def gradient(self, starts: list[Tensor], real: Tensor, real_labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradients of images and raw step sizes, averaged over networks that start as given."""
        rates = F.softplus(self.raw_lr)
        on_images, on_rates = torch.zeros_like(self.images), torch.zeros_like(rates)
        for start in starts:
            params, gradients = [start.clone().requires_grad_()], []
            for step in range(self.steps):
                batch = step % len(self.images)
                loss = F.cross_entropy(self.network(self.images[batch], params[-1]), self.labels[batch])
                (gradient,) = torch.autograd.grad(loss, params[-1], rates[step], create_graph=True)
                gradients.append(gradient)
                params.append((params[-1] - gradient).detach().requires_grad_())
            end = params.pop()
            (cotangent,) = torch.autograd.grad(F.cross_entropy(self.network(real, end), real_labels), end)
            while gradients:
                inputs = (params.pop(), self.images, rates)
                back = torch.autograd.grad(gradients.pop(), inputs, -cotangent)
                cotangent = cotangent + back[0]
                on_images += back[1]
                on_rates += back[2]
        (on_raw,) = torch.autograd.grad(rates, self.raw_lr, on_rates / len(starts))
        return on_images / len(starts), on_raw

    def iterate(self, starts: list[Tensor], real: Tensor, real_labels: Tensor) -> None:
        """Take one outer iteration."""
        self.images.grad, self.raw_lr.grad = self.gradient(starts, real, real_labels)
        self.optimizer.step()


def train_epoch(network: nn.Module, loader: Iterable[Any], optimizer: torch.optim.Optimizer, device: Any) -> float:
    """Train for one epoch with DSA; return the mean loss."""
    network.train()
    total, right, seen = 0.0, 0, 0
    for images, labels in loader:
        x, y = augment_at_random(images.float().to(device)), labels.long().to(device)
        logits = network(x)
        loss = F.cross_entropy(logits, y)
        right += int((logits.argmax(1) == y).sum().item())
        total += loss.item() * len(y)
        seen += len(y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return total / seen


def accuracy(network: nn.Module, loader: Iterable[Any], device: Any) -> float:
    """Return the fraction of images the network classifies correctly."""
    network.eval()
    right, seen = 0, 0
    with torch.no_grad():
        for images, labels in loader:
            logits = network(images.float().to(device))
            right += int((logits.argmax(1) == labels.long().to(device)).sum().item())
            seen += len(labels)
    return right / seen
