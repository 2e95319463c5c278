"""How was models/tinycloud.onnx made, and how good is it on what it has not seen?

Trains a small convolutional net on the left halves of two labelled scenes and prints Cohen's kappa on the
right halves. It is a script by itself, outside the package, because it needs PyTorch, which perigrid does
not. Run it so:

    python3.11 -m venv /tmp/tinycloud
    /tmp/tinycloud/bin/pip install torch==2.13.0 onnx numpy onnxruntime
    export PERIGRID_DATA=<folder with scenes/>
    /tmp/tinycloud/bin/python models/train_tinycloud.py models/tinycloud.onnx

About three minutes on one core. Another machine or another PyTorch rounds differently and ends with other
weights, so the sha256 in manifest.toml names the committed file and is not expected from a new training.

The net (input [N,4,256,256] reflectance of blue, green, red, near infrared; output [N,3,256,256] scores for
clear, cloud, shadow): one convolution at full size, two with stride 2, four separable ones at a quarter of
the size with dilations 1, 2, 4 and 8 (a shadow lies away from its cloud, so the net must see far), then back
up with nearest-neighbour Resize and sums.

Read the kappa with care. The two halves of a scene adjoin, share weather and sun, and their labels are easy:
the script prints beside the net what two plain thresholds reach (bright in blue is cloud, else dark in near
infrared is shadow), chosen on the left half. A figure on a right half says nothing about another scene.
Normalisation lives in the first convolution and batch norms in the ones before them, so the file needs no
other step.
"""

import hashlib
import os
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn import functional

SEED = 7
STEPS = 1500
BATCH = 8
CROP_PX = 128
TILE_PX = 256
THREADS = 1
PEAK_RATE = 6e-3
FILE_BYTES_MAX = 50_000
SCENES = ("sentinel2", "landsat5")
BANDS = 4
CLASSES = 3
# The scenes' labels are 0 shadow, 1 snow, 2 water, 3 land, 4 cloud; the net's classes are 0 clear, 1 cloud, 2
# shadow.
CLASS_OF_LABEL = np.array([2, 0, 0, 0, 1], np.int64)
STEM, HALF, QUARTER = 12, 16, 24
DILATIONS = (1, 2, 4, 8)


class Block(nn.Module):
    """A convolution with its batch norm; `folded` gives the one convolution that both are worth."""

    def __init__(self, inputs: int, outputs: int, size: int, stride: int = 1, dilation: int = 1, groups: int = 1):
        super().__init__()
        padding = dilation * (size // 2)
        self.conv = nn.Conv2d(inputs, outputs, size, stride, padding, dilation, groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(x))

    def folded(self) -> tuple[torch.Tensor, torch.Tensor]:
        scale = self.norm.weight / torch.sqrt(self.norm.running_var + self.norm.eps)
        weight = self.conv.weight * scale[:, None, None, None]
        return weight.detach(), (self.norm.bias - self.norm.running_mean * scale).detach()


class Tinycloud(nn.Module):
    """The net in training; `mean` and `std` are of the training halves, one number a band."""

    def __init__(self, mean: torch.Tensor, std: torch.Tensor):
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.stem = Block(BANDS, STEM, 3)
        self.to_half = Block(STEM, HALF, 3, stride=2)
        self.to_quarter = Block(HALF, QUARTER, 3, stride=2)
        self.wide = nn.ModuleList(Block(QUARTER, QUARTER, 3, dilation=d, groups=QUARTER) for d in DILATIONS)
        self.mix = nn.ModuleList(Block(QUARTER, QUARTER, 1) for _ in DILATIONS)
        self.up_half = Block(QUARTER, HALF, 1)
        self.up_full = Block(HALF, STEM, 3)
        self.head = nn.Conv2d(STEM, CLASSES, 1)

    def first(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight and bias of the first convolution over raw reflectance, normalisation included."""
        weight = self.stem.conv.weight / self.std[None, :, None, None]
        return weight, -(weight * self.mean[None, :, None, None]).sum(dim=(1, 2, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight, bias = self.first()
        full = functional.relu(self.stem.norm(functional.conv2d(x, weight, bias, padding=1)))
        half = functional.relu(self.to_half(full))
        y = functional.relu(self.to_quarter(half))
        for wide, mix in zip(self.wide, self.mix, strict=True):
            y = functional.relu(y + mix(functional.relu(wide(y))))
        y = functional.relu(half + functional.interpolate(self.up_half(y), scale_factor=2, mode="nearest"))
        y = functional.relu(full + self.up_full(functional.interpolate(y, scale_factor=2, mode="nearest")))
        return self.head(y)


def load_halves(folder: Path) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Name -> (left image [4,512,256], left classes, right image, right classes)."""
    halves = {}
    for name in SCENES:
        with np.load(folder / f"{name}.npz") as file:
            image = np.ascontiguousarray(file["img"][:, :, :BANDS].transpose(2, 0, 1).astype(np.float32))
            classes = CLASS_OF_LABEL[file["msk"][:, :, 0]]
        half = image.shape[2] // 2
        halves[name] = (image[:, :, :half], classes[:, :half], image[:, :, half:], classes[:, half:])
    return halves


def crops(halves: dict, random: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch of random crops of the left halves: half from each scene, turned, mirrored and brightened at
    random.
    """
    images, classes = [], []
    for number in range(BATCH):
        image, labels, _, _ = halves[SCENES[number % len(SCENES)]]
        row = random.integers(image.shape[1] - CROP_PX + 1)
        column = random.integers(image.shape[2] - CROP_PX + 1)
        crop = image[:, row : row + CROP_PX, column : column + CROP_PX]
        label = labels[row : row + CROP_PX, column : column + CROP_PX]
        # Shadows fall one way in each scene; turning the crops keeps the net from learning that one way by
        # heart.
        turns = int(random.integers(4))
        crop, label = np.rot90(crop, turns, axes=(1, 2)), np.rot90(label, turns)
        if random.integers(2):
            crop, label = crop[:, :, ::-1], label[:, ::-1]
        images.append(crop * np.float32(random.uniform(0.85, 1.15)))
        classes.append(label)
    return torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(classes))


def train(halves: dict) -> Tinycloud:
    torch.manual_seed(SEED)
    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(True)
    random = np.random.default_rng(SEED)
    pixels = np.concatenate([halves[name][0].reshape(BANDS, -1) for name in SCENES], axis=1)
    net = Tinycloud(torch.from_numpy(pixels.mean(1)), torch.from_numpy(pixels.std(1)))
    optimiser = torch.optim.AdamW(net.parameters(), lr=PEAK_RATE, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, PEAK_RATE, total_steps=STEPS)
    for step in range(STEPS):
        image, classes = crops(halves, random)
        loss = functional.cross_entropy(net(image), classes, label_smoothing=0.05)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 100 == 0:
            print(f"step {step:5d} of {STEPS}, loss {loss.item():.3f}", file=sys.stderr, flush=True)
    return net.eval()


class Graph:
    """The ONNX graph, written node by node so that the file holds nothing but the net."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        scales = np.array([1, 1, 2, 2], np.float32)
        self.constants.append(numpy_helper.from_array(scales, "twice"))

    def conv(self, name: str, x: str, weight: torch.Tensor, bias: torch.Tensor, **shape: int) -> str:
        stride, dilation, groups = (shape.get(key, 1) for key in ("stride", "dilation", "groups"))
        padding = dilation * (weight.shape[-1] // 2)
        for suffix, values in (("weight", weight), ("bias", bias)):
            self.constants.append(numpy_helper.from_array(values.detach().numpy(), f"{name}.{suffix}"))
        node = helper.make_node("Conv", [x, f"{name}.weight", f"{name}.bias"], [name], name=name)
        sizes = {"strides": [stride] * 2, "dilations": [dilation] * 2, "pads": [padding] * 4, "group": groups}
        node.attribute.extend(helper.make_attribute(key, value) for key, value in sizes.items())
        self.nodes.append(node)
        return name

    def relu(self, x: str) -> str:
        self.nodes.append(helper.make_node("Relu", [x], [f"{x}.relu"]))
        return f"{x}.relu"

    def add(self, name: str, x: str, y: str) -> str:
        self.nodes.append(helper.make_node("Add", [x, y], [name]))
        return name

    def twice(self, x: str) -> str:
        kind = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        self.nodes.append(helper.make_node("Resize", [x, "", "twice"], [f"{x}.twice"], **kind))
        return f"{x}.twice"


def to_onnx(net: Tinycloud) -> onnx.ModelProto:
    graph = Graph()
    first_weight, first_bias = net.first()
    norm = net.stem.norm
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    bias = (first_bias - norm.running_mean) * scale + norm.bias
    full = graph.relu(graph.conv("stem", "input", first_weight * scale[:, None, None, None], bias))
    half = graph.relu(graph.conv("half", full, *net.to_half.folded(), stride=2))
    y = graph.relu(graph.conv("quarter", half, *net.to_quarter.folded(), stride=2))
    for number, (wide, mix) in enumerate(zip(net.wide, net.mix, strict=True)):
        dilation = DILATIONS[number]
        seen = graph.conv(f"wide{number}", y, *wide.folded(), dilation=dilation, groups=QUARTER)
        mixed = graph.conv(f"mix{number}", graph.relu(seen), *mix.folded())
        y = graph.relu(graph.add(f"sum{number}", y, mixed))
    y = graph.twice(graph.conv("up_half", y, *net.up_half.folded()))
    y = graph.relu(graph.add("sum_half", half, y))
    y = graph.conv("up_full", graph.twice(y), *net.up_full.folded())
    y = graph.relu(graph.add("sum_full", full, y))
    head = graph.conv("output", y, net.head.weight, net.head.bias)
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", BANDS, TILE_PX, TILE_PX])
    scores = helper.make_tensor_value_info(head, TensorProto.FLOAT, ["batch", CLASSES, TILE_PX, TILE_PX])
    body = helper.make_graph(graph.nodes, "tinycloud", [image], [scores], graph.constants)
    opset = helper.make_opsetid("", 17)
    model = helper.make_model(body, opset_imports=[opset], producer_name="perigrid", ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def kappa(mask: np.ndarray, classes: np.ndarray) -> float:
    """Cohen's kappa (Cohen, 1960) over all pixels."""
    table = np.bincount(classes.ravel() * CLASSES + mask.ravel(), minlength=CLASSES**2).reshape(CLASSES, CLASSES)
    total = table.sum()
    chance = (table.sum(0) * table.sum(1)).sum() / total**2
    return float((np.trace(table) / total - chance) / (1 - chance))


def thresholds(halves: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]) -> float:
    """Kappa on a right half of the best two thresholds of the left half: what the task is worth without any
    net.
    """
    image, classes, unseen, unseen_classes = halves

    def mask(pixels: np.ndarray, blue: float, infrared: float) -> np.ndarray:
        return np.where(pixels[0] > blue, 1, np.where(pixels[3] < infrared, 2, 0))

    blues = np.quantile(image[0], np.linspace(0.3, 0.98, 18))
    infrareds = np.quantile(image[3], np.linspace(0.01, 0.5, 18))
    pairs = [(blue, infrared) for blue in blues for infrared in infrareds]
    best = max(pairs, key=lambda pair: kappa(mask(image, *pair), classes))
    return kappa(mask(unseen, *best), unseen_classes)


def votes(session: onnxruntime.InferenceSession, image: np.ndarray) -> np.ndarray:
    """Class with the most votes of whole tiles at stride 64 over one half; ties go to the lower class."""
    count = np.zeros((CLASSES, *image.shape[1:]), np.int32)
    for row in range(0, image.shape[1] - TILE_PX + 1, 64):
        for column in range(0, image.shape[2] - TILE_PX + 1, 64):
            place = (slice(row, row + TILE_PX), slice(column, column + TILE_PX))
            tile = np.ascontiguousarray(image[(slice(None), *place)])[None]
            best = session.run(None, {"input": tile})[0][0].argmax(0)
            count[(slice(None), *place)] += np.arange(CLASSES)[:, None, None] == best
    return count.argmax(0)


def report(path: Path, net: Tinycloud, halves: dict) -> None:
    """Print what the file is worth, and refuse it when it is not the net that was trained."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    image = np.stack([halves[name][2][:, :TILE_PX] for name in SCENES])
    with torch.no_grad():
        difference = np.abs(net(torch.from_numpy(image)).numpy() - session.run(None, {"input": image})[0]).max()
    if difference > 1e-3:
        raise SystemExit(f"{path} differs from the trained net by {difference:.2g}: the export is wrong")
    data = path.read_bytes()
    if len(data) > FILE_BYTES_MAX:
        raise SystemExit(f"{path} has {len(data)} bytes, more than {FILE_BYTES_MAX}: make the net smaller")
    masks = {name: (votes(session, halves[name][0]), votes(session, halves[name][2])) for name in SCENES}
    for name, (seen, unseen) in masks.items():
        held_out, trained = kappa(unseen, halves[name][3]), kappa(seen, halves[name][1])
        plain = thresholds(halves[name])
        print(f"{name}: kappa {held_out:.3f} held out, {trained:.3f} trained", end="; ")
        print(f"two thresholds {plain:.3f} held out")
    both = [np.concatenate([pair[1] for pair in masks.values()])]
    both.append(np.concatenate([halves[name][3] for name in SCENES]))
    print(f"both: kappa {kappa(both[0], both[1]):.3f} held out")
    print(f"{len(data)} bytes, largest difference to PyTorch {difference:.1e}")
    print(f"sha256 {hashlib.sha256(data).hexdigest()}")


def main() -> None:
    if len(sys.argv) != 2 or not os.environ.get("PERIGRID_DATA"):
        raise SystemExit("usage: PERIGRID_DATA=<folder with scenes/> python train_tinycloud.py <file to write>")
    halves = load_halves(Path(os.environ["PERIGRID_DATA"]) / "scenes")
    net = train(halves)
    path = Path(sys.argv[1])
    onnx.save(to_onnx(net), path)
    report(path, net, halves)


if __name__ == "__main__":
    main()
