"""perigrid: an orbital edge-compute runtime on a desk.

Real processes, real ONNX inference behind gRPC, ZeroMQ buses that carry the light-speed delay, the bandwidth and the
outages of laser links, and a ground controller that shards jobs over the mesh and gets every result exactly once.
"""

__version__ = "0.1.0"
