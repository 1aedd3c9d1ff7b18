"""Small torch networks, one for each way in which channels depend on each other, and the ONNX they export to."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable

import onnx
import torch
from torch import Tensor, nn

from build_tools.model import Model

SIDE = 8


def conv(inputs: int, outputs: int, k: int = 3, groups: int = 1, bn: bool = True) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, k, padding=k // 2, groups=groups, bias=not bn)]
    return nn.Sequential(*layers, *([nn.BatchNorm2d(outputs)] if bn else []), nn.ReLU())


class Head(nn.Module):
    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.fc = nn.Linear(inputs, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x.mean((2, 3)))


class Chain(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(conv(3, 16), conv(16, 24, bn=False), nn.MaxPool2d(2), conv(24, 16), Head(16))


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.a, self.b = conv(3, 16), conv(16, 32), nn.Conv2d(32, 16, 1)
        self.c, self.head = conv(16, 16), Head(16)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.b(self.a(x))
        return self.head(x + self.c(x))


class Concatenation(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.a, self.b, self.c = conv(3, 16), conv(16, 8), conv(16, 24), conv(48, 16)
        self.head = Head(16)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.head(self.c(torch.cat([self.a(x), x, self.b(x)], 1)))


class Separable(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(conv(3, 16), conv(16, 16, groups=16), conv(16, 24, k=1), conv(24, 24, groups=24), Head(24))


class Grouped(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(conv(3, 16), conv(16, 32, groups=4), conv(32, 16, k=1), Head(16))


class Flattened(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(
            conv(3, 8), nn.MaxPool2d(2), conv(8, 16, bn=False), nn.Flatten(), nn.Linear(16 * 16, 32), nn.ReLU(),
            nn.Linear(32, 5),
        )  # fmt: skip


class Shuffled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = conv(3, 16), conv(16, 16), Head(16)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        n, c, h, w = 1, 16, SIDE, SIDE
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        return self.head(self.b(x))


class Gathered(nn.Module):
    """A shuffle by indices, and halves that go different ways."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.head = conv(3, 16), conv(8, 8), conv(8, 8, k=1), Head(16)
        self.order = torch.tensor([i for j in range(8) for i in (j, j + 8)])

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)[:, self.order]
        left, right = x[:, :8], x[:, 8:]
        return self.head(torch.cat([self.b(left), self.c(right) * torch.sigmoid(left)], 1))


class Split(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.head = conv(3, 24), conv(8, 16), conv(16, 16), Head(16)

    def forward(self, x: Tensor) -> Tensor:
        left, right = torch.split(self.a(x), [8, 16], 1)
        return self.head(self.b(left) + self.c(right))


class Excited(nn.Module):
    """Squeeze and excitation, PReLU, instance norm and a transposed convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.act, self.norm = nn.Conv2d(3, 16, 3), nn.PReLU(16), nn.InstanceNorm2d(16, affine=True)
        self.down, self.up, self.wide = nn.Conv2d(16, 8, 1), nn.Conv2d(8, 16, 1), nn.ConvTranspose2d(16, 8, 2, 2)
        self.head = Head(8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.act(self.a(x)))
        x = x * torch.sigmoid(self.up(torch.relu(self.down(x.mean((2, 3), keepdim=True)))))
        return self.head(self.wide(nn.functional.interpolate(x, scale_factor=2.0)))


class Multiplied(nn.Sequential):
    """Depthwise with two filters a channel, and transposed convolutions, depthwise and grouped."""

    def __init__(self) -> None:
        super().__init__(
            conv(3, 8), nn.Conv2d(8, 16, 3, padding=1, groups=8), nn.ConvTranspose2d(16, 16, 2, 2, groups=16),
            nn.ConvTranspose2d(16, 8, 2, groups=2), nn.LeakyReLU(), Head(8),
        )  # fmt: skip


class Padded(nn.Module):
    """A skip connection widened by zero channels, and pixels moved into channels and back."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.head = conv(3, 8), conv(8, 16), conv(16, 16), Head(4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        x = self.b(x) + nn.functional.pad(x, (0, 0, 0, 0, 0, 8))
        return self.head(nn.functional.pixel_shuffle(self.c(x), 2))


class Perceptron(nn.Module):
    """Fully connected layers over the last axis of a sequence, exported as MatMul and Add."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(SIDE, 32), nn.Linear(32, 16), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.a(x))
        return self.c((x - nn.functional.softmax(x, 1) * 0.5).transpose(1, 2).transpose(1, 2) @ self.b.weight.T)


NETS: dict[str, Callable[[], nn.Module]] = {
    "chain": Chain, "residual": Residual, "concatenation": Concatenation, "separable": Separable, "grouped": Grouped,
    "flattened": Flattened, "shuffled": Shuffled, "gathered": Gathered, "split": Split, "excited": Excited,
    "padded": Padded, "multiplied": Multiplied, "perceptron": Perceptron,
}  # fmt: skip


def net(name: str, seed: int = 0) -> nn.Module:
    """A network with every parameter and statistic drawn, so that no two are equal."""
    torch.manual_seed(seed)
    made = NETS[name]().eval()
    for tensor in (*made.parameters(), *(b for b in made.buffers() if b.is_floating_point())):
        tensor.data += 0.1 * torch.rand_like(tensor)
    return made


def exported(module: nn.Module, dynamic: bool = False) -> Model:
    """The network as ONNX, batch norms left as they are, names of weights as in torch."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module, (example(),), file, dynamo=False, opset_version=17, input_names=["x"], output_names=["y"],
            training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False,
            dynamic_axes={"x": {0: "n"}} if dynamic else None,
        )  # fmt: skip
    return Model(onnx.load_from_string(file.getvalue()))


def example(seed: int = 0) -> Tensor:
    """An input of every network."""
    return torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))
