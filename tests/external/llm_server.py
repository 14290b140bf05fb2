"""Serves a small real model over the OpenAI protocol until it is told to stop: MODEL PORT."""

import signal
import sys
import threading

import xllamacpp

params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.port = int(sys.argv[2])
params.hostnames = ["127.0.0.1"]
params.n_parallel = 2
params.n_ctx = 4096
params.n_gpu_layers = 0
params.use_jinja = True
params.model_alias = {"local-llm"}
params.cpuparams.n_threads = 2

server = xllamacpp.Server(params)
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
stop.wait()
