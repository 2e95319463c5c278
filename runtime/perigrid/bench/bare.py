"""How fast is the model without any runtime?

One thread, one onnxruntime session, tiles taken from a queue that all such processes share: cut (and normalise, where
the model wants it) and run, nothing else. Nobody can run the model on these tiles with less.

Usage: bare MODEL_FILE SCENE_FILE.npy NORMALISATION.json TILES.npy COUNTER_FILE SECONDS; prints tiles and CPU seconds.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import time

import numpy as np
import onnxruntime

NICENESS = 19
TAKE = 4


def take(counter: int) -> int:
    """The next tiles of the shared queue."""
    fcntl.flock(counter, fcntl.LOCK_EX)
    number = int.from_bytes(os.pread(counter, 8, 0), "little")
    os.pwrite(counter, (number + TAKE).to_bytes(8, "little"), 0)
    fcntl.flock(counter, fcntl.LOCK_UN)
    return number


def main() -> None:
    """Work until the time is over."""
    model, scene_file, scaling_file, tiles_file, counter_file, seconds = sys.argv[1:7]
    os.nice(NICENESS)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    scene, corners = np.load(scene_file, mmap_mode="r"), np.load(tiles_file)
    with open(scaling_file) as file:
        scaling = json.load(file)
    bands, side = scaling["bands"], scaling["tile_px"]
    mean = np.array(scaling["mean"], np.float32)[:, None, None] if scaling["mean"] else None
    std = np.array(scaling["std"], np.float32)[:, None, None] if scaling["std"] else None
    buffer = np.empty((1, bands, side, side), np.float32)

    def run(number: int) -> None:
        row, column = corners[number % len(corners)]
        crop = scene[:bands, row : row + side, column : column + side]
        if mean is None or std is None:
            np.copyto(buffer[0], crop)
        else:
            np.subtract(crop, mean, out=buffer[0])
            np.divide(buffer[0], std, out=buffer[0])
        session.run(None, {name: buffer})

    run(0)
    run(1)
    print("ready", flush=True)
    sys.stdin.readline()
    counter = os.open(counter_file, os.O_RDWR)
    cpu_s, end_s, done = time.process_time(), time.monotonic() + float(seconds), 0
    start_s = time.monotonic()
    while time.monotonic() < end_s:
        first = take(counter)
        for number in range(first, first + TAKE):
            run(number)
        done += TAKE
    print(json.dumps({"tiles": done, "cpu_s": time.process_time() - cpu_s, "wall_s": time.monotonic() - start_s}))


if __name__ == "__main__":
    main()
