"""What does one plain process make of the same tiles?

A script that imports nothing of perigrid: it reads the scene, runs the model with onnxruntime on one tile
after the other, adds up the votes and hashes the mask. The demo starts it beside the constellation and
compares. What to do comes as JSON on stdin, the answer goes as JSON to stdout:

    scene_file, scene_format ("json" or "npz"), scale, model_file, input_name, bands, mean, std (or null),
    channels (of clear, cloud and shadow), tile_px, stride_px
    -> result_sha256, tiles, elapsed_s, cpu_s
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from typing import Any

import numpy as np

# It would write into the home folder and send what it counts.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime
from numpy.typing import NDArray

NO_VOTE = 255
"""Value of a pixel that no tile has covered."""

LOWEST_PRIORITY = 19
"""Niceness: the reference computes in what time the constellation leaves."""

ABANDONED = 1
"""Exit code where the process that asked is gone."""


def read_scene(task: dict[str, Any]) -> NDArray[np.float32]:
    """The scene as reflectance, float32 [bands, height, width]."""
    if task["scene_format"] == "json":
        with open(task["scene_file"], encoding="utf-8") as file:
            image = np.array(json.load(file), dtype=np.float32)
    else:
        image = np.load(task["scene_file"])["img"]
    if image.shape[2] < image.shape[0]:
        image = image.transpose(2, 0, 1)
    scene = np.ascontiguousarray(image, dtype=np.float32)
    return scene / np.float32(task["scale"]) if task["scale"] != 1.0 else scene


def starts(size_px: int, tile_px: int, stride_px: int) -> list[int]:
    """Where tiles begin along one side; the last one ends with the scene."""
    last = size_px - tile_px
    return sorted({*range(0, last + 1, stride_px), last})


def compute(task: dict[str, Any]) -> dict[str, Any]:
    """Do the whole scene, one tile at a time; the answer described above."""
    began_s, parent = time.monotonic(), os.getppid()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(task["model_file"], options, providers=["CPUExecutionProvider"])
    scene = read_scene(task)
    _, height, width = scene.shape
    side = task["tile_px"]
    votes = np.zeros((3, height, width), np.int32)
    tiles = 0
    for row in starts(height, side, task["stride_px"]):
        for column in starts(width, side, task["stride_px"]):
            if os.getppid() != parent:
                sys.exit(ABANDONED)
            tile = scene[: task["bands"], row : row + side, column : column + side]
            if task["mean"] is not None:
                mean = np.array(task["mean"], np.float32)[:, None, None]
                std = np.array(task["std"], np.float32)[:, None, None]
                tile = (tile - mean) / std
            scores = session.run(None, {task["input_name"]: np.ascontiguousarray(tile[None])})[0][0]
            classes = scores[task["channels"]].argmax(axis=0)
            for value in range(3):
                votes[value, row : row + side, column : column + side] += classes == value
            tiles += 1
    mask = votes.argmax(axis=0).astype(np.uint8)
    mask[~votes.any(axis=0)] = NO_VOTE
    digest = hashlib.sha256(np.array(mask.shape, "<i4").tobytes() + mask.tobytes()).hexdigest()
    elapsed_s = time.monotonic() - began_s
    return {
        "result_sha256": digest,
        "tiles": tiles,
        "elapsed_s": elapsed_s,
        "cpu_s": time.process_time(),
    }


def main() -> None:
    """Answer the task on stdin."""
    os.nice(LOWEST_PRIORITY)
    if hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    print(json.dumps(compute(json.load(sys.stdin))))


if __name__ == "__main__":
    main()
