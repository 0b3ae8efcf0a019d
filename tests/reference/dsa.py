"""DSA as the specification puts it, one image and one pixel at a time, in float64.

The oracle of ``datadistill.augment``; shares nothing with it but the order of the random numbers.
"""

import math

import torch
from torch import Tensor

SLOTS = {"color": 3, "crop": 2, "cutout": 2, "flip": 1, "scale": 2, "rotate": 1}


def augment(images: Tensor, operations: list[str], uniforms: Tensor, *, align_corners: bool) -> Tensor:
    """``uniforms`` [n u], the numbers of the operations one after the other."""
    return torch.stack(
        [_one(image, operations, row.tolist(), align_corners) for image, row in zip(images, uniforms, strict=True)]
    )


def _one(image: Tensor, operations: list[str], numbers: list[float], align_corners: bool) -> Tensor:
    for name in operations:
        mine, numbers = numbers[: SLOTS[name]], numbers[SLOTS[name] :]
        if name in ("scale", "rotate"):
            image = _affine(image, _scale(*mine) if name == "scale" else _rotation(*mine), align_corners)
        else:
            image = {"color": _color, "crop": _crop, "cutout": _cutout, "flip": _flip}[name](image, *mine)
    return image


def _color(image: Tensor, brightness: float, saturation: float, contrast: float) -> Tensor:
    image = image + (brightness - 0.5) * 1.0
    gray = image.sum(0) / image.shape[0]
    image = (image - gray) * (saturation * 2.0) + gray
    mean = image.sum() / image.numel()
    return (image - mean) * (contrast + 0.5) + mean


def _whole(uniform: float, first: int, last: int) -> int:
    """A whole number first..last."""
    return min(first + math.floor(uniform * (last - first + 1)), last)


def _crop(image: Tensor, down: float, right: float) -> Tensor:
    _, height, width = image.shape
    reach_y, reach_x = int(0.125 * height + 0.5), int(0.125 * width + 0.5)
    dy, dx = _whole(down, -reach_y, reach_y), _whole(right, -reach_x, reach_x)
    result = torch.zeros_like(image)
    for y in range(height):
        for x in range(width):
            if 0 <= y + dy < height and 0 <= x + dx < width:
                result[:, y, x] = image[:, y + dy, x + dx]
    return result


def _cutout(image: Tensor, down: float, right: float) -> Tensor:
    _, height, width = image.shape
    box_y, box_x = int(0.5 * height + 0.5), int(0.5 * width + 0.5)
    centre_y = _whole(down, 0, height if box_y % 2 == 0 else height - 1)
    centre_x = _whole(right, 0, width if box_x % 2 == 0 else width - 1)
    result = image.clone()
    for i in range(box_y):
        for j in range(box_x):
            y = min(max(centre_y - box_y // 2 + i, 0), height - 1)
            x = min(max(centre_x - box_x // 2 + j, 0), width - 1)
            result[:, y, x] = 0.0
    return result


def _flip(image: Tensor, chance: float) -> Tensor:
    return image[:, :, list(range(image.shape[2]))[::-1]] if chance < 0.5 else image


def _scale(right: float, down: float) -> list[list[float]]:
    ratio = 1.2
    return [[right * (ratio - 1 / ratio) + 1 / ratio, 0.0], [0.0, down * (ratio - 1 / ratio) + 1 / ratio]]


def _rotation(angle: float) -> list[list[float]]:
    theta = (angle - 0.5) * 2 * 15.0 / 180 * math.pi
    return [[math.cos(theta), -math.sin(theta)], [math.sin(theta), math.cos(theta)]]


def _affine(image: Tensor, matrix: list[list[float]], align_corners: bool) -> Tensor:
    """Bilinear values of ``image`` where ``matrix`` sends every pixel, zero outside."""
    _, height, width = image.shape
    result = torch.zeros_like(image)
    for row in range(height):
        for column in range(width):
            x, y = _to_unit(column, width, align_corners), _to_unit(row, height, align_corners)
            from_x = _from_unit(matrix[0][0] * x + matrix[0][1] * y, width, align_corners)
            from_y = _from_unit(matrix[1][0] * x + matrix[1][1] * y, height, align_corners)
            for i in (math.floor(from_y), math.floor(from_y) + 1):
                for j in (math.floor(from_x), math.floor(from_x) + 1):
                    if 0 <= i < height and 0 <= j < width:
                        weight = (1 - abs(from_y - i)) * (1 - abs(from_x - j))
                        result[:, row, column] += weight * image[:, i, j]
    return result


def _to_unit(position: int, size: int, align_corners: bool) -> float:
    return 2 * position / (size - 1) - 1 if align_corners else (2 * position + 1) / size - 1


def _from_unit(coordinate: float, size: int, align_corners: bool) -> float:
    return (coordinate + 1) * (size - 1) / 2 if align_corners else ((coordinate + 1) * size - 1) / 2
