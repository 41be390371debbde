"""Runs llama.cpp's own HTTP server, by the package xllamacpp, until its process ends: `llama_server.py MODEL PORT`."""

from __future__ import annotations

import signal
import sys

import xllamacpp

parameters = xllamacpp.CommonParams()
parameters.model.path = sys.argv[1]
parameters.model_alias = {"words"}
parameters.hostnames = ["127.0.0.1"]
parameters.port = int(sys.argv[2])
parameters.n_ctx = 0  # the model's own
parameters.n_parallel = 4
parameters.kv_unified = True
parameters.cpuparams.n_threads = 1
parameters.sampling.temp = 0.0
parameters.use_jinja = True
parameters.endpoint_slots = True
server = xllamacpp.Server(parameters)
signal.pause()
