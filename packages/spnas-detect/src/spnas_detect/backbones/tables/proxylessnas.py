"""ProxylessNAS's four networks: ``proxylessnas:cpu``, ``gpu``, ``mobile``, ``mobile-1.4``.

Cai, Zhu, Han, "ProxylessNAS: Direct Neural Architecture Search on Target Task and Hardware", ICLR 2019.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from spnas_detect.backbones.tables.parts import Chain, Row, normed, provider

EPS = 1e-3
"""Of its batch norms."""


@dataclass(frozen=True)
class Network:
    """One of the networks.

    Attributes:
        stem: channels of the 3×3 convolution of stride 2.
        rows: channels, stride, and the blocks by kernel and expansion, ``3·1`` is a 3×3 that expands to nothing more;
            ``-`` is a block that the search has left out.
    """

    stem: int
    rows: tuple[tuple[int, int, str], ...]


NETWORKS = {
    "cpu": Network(
        40,
        (
            (24, 1, "3·1"),
            (32, 2, "3·6 3·3 3·3 3·3"),
            (48, 2, "3·6 3·3 3·3 5·3"),
            (88, 2, "3·6 - - 3·3"),
            (104, 1, "5·6 3·3 3·3 3·3"),
            (216, 2, "5·6 5·3 5·3 3·3"),
            (360, 1, "5·6"),
        ),
    ),
    "gpu": Network(
        40,
        (
            (24, 1, "3·1"),
            (32, 2, "5·3 - - -"),
            (56, 2, "7·3 - - 3·3"),
            (112, 2, "7·6 - - 5·3"),
            (128, 1, "5·6 - 3·3 5·3"),
            (256, 2, "7·6 7·6 7·6 5·6"),
            (432, 1, "7·6"),
        ),
    ),
    "mobile": Network(
        32,
        (
            (16, 1, "3·1"),
            (32, 2, "5·3 3·3 - -"),
            (40, 2, "7·3 3·3 5·3 5·3"),
            (80, 2, "7·6 5·3 5·3 5·3"),
            (96, 1, "5·6 5·3 5·3 5·3"),
            (192, 2, "7·6 7·6 7·3 7·3"),
            (320, 1, "7·6"),
        ),
    ),
    "mobile-1.4": Network(
        48,
        (
            (24, 1, "3·1"),
            (40, 2, "5·3 3·3 - -"),
            (56, 2, "7·3 3·3 5·3 5·3"),
            (112, 2, "7·6 5·3 5·3 5·3"),
            (136, 1, "5·6 5·3 5·3 5·3"),
            (256, 2, "7·6 7·6 7·3 7·3"),
            (448, 1, "7·6"),
        ),
    ),
}


class Block(nn.Module):
    """An inverted bottleneck with ReLU6; every block of a row but the first adds its input.

    Args:
        inputs: channels that enter.
        outputs: channels that leave.
        kernel: of the depthwise convolution.
        expansion: channels in the middle per channel that enters.
        stride: of the depthwise convolution.
        adds: whether the input is added.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, expansion: int, stride: int, *, adds: bool) -> None:
        super().__init__()
        middle = inputs * expansion
        self.adds = adds
        self.widening = normed(inputs, middle, eps=EPS) if expansion > 1 else None
        self.depthwise = normed(middle, middle, kernel, stride, groups=middle, eps=EPS)
        self.narrowing = normed(middle, outputs, eps=EPS)
        self.activation = nn.ReLU6(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map Tensor[N, C, H, W] to the block's output, which may be negative."""
        middle = x if self.widening is None else self.activation(self.widening(x))
        found: Tensor = self.narrowing(self.activation(self.depthwise(middle)))
        return x + found if self.adds else found


def make(name: str) -> nn.Module:
    """Make the trunk of a name."""
    network = NETWORKS[name]
    stem = nn.Sequential(*normed(3, network.stem, 3, 2, eps=EPS), nn.ReLU6(inplace=True))
    rows, inputs = [], network.stem
    for channels, stride, blocks in network.rows:
        row = nn.Sequential()
        for place, block in enumerate(blocks.split()):
            if block == "-":
                continue
            kernel, expansion = map(int, block.split("·"))
            step = stride if place == 0 else 1
            row.append(Block(inputs, channels, kernel, expansion, step, adds=place > 0))
            inputs = channels
        rows.append(Row(row, channels, stride))
    return Chain(stem, 2, rows)


PROXYLESSNAS = provider("proxylessnas", "ProxylessNAS's networks for three devices", tuple(NETWORKS), make)
