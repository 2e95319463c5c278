"""How fast is onnxruntime in a loop, with nobody asking?

bare.py NAME=FILE... ; then lines "NAME SECONDS" on standard input, each answered with a line of JSON
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import onnxruntime


def main() -> None:
    """Load all, then run what is asked for."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    loaded = {}
    for name, path, sample in (one.split("=") for one in sys.argv[1:]):
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        loaded[name] = session, {session.get_inputs()[0].name: np.load(sample)}
        for _ in range(3):
            session.run(None, loaded[name][1])
    print("ready", flush=True)
    for line in sys.stdin:
        name, seconds = line.split()
        session, given = loaded[name]
        for _ in range(3):
            session.run(None, given)
        requests, cpu_s, start_s = 0, time.process_time(), time.perf_counter()
        end_s, now_s = start_s + float(seconds), start_s
        while now_s < end_s:
            session.run(None, given)
            requests += 1
            now_s = time.perf_counter()
        done = {"requests": requests, "wall_s": now_s - start_s, "cpu_s": time.process_time() - cpu_s}
        print(json.dumps(done), flush=True)


if __name__ == "__main__":
    main()
