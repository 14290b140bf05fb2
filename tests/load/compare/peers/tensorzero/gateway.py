"""Runs TensorZero's HTTP gateway from the Python package: arguments are its configuration and where to write its address."""

import signal
import sys
from pathlib import Path

import tensorzero

# The package's only way to it; `patch_openai_client` of its public interface calls the same.
gateway = tensorzero._start_http_gateway(
    config_file=sys.argv[1], clickhouse_url=None, postgres_url=None, valkey_url=None, async_setup=False
)
Path(sys.argv[2]).write_text(gateway.base_url)
signal.sigwait({signal.SIGTERM, signal.SIGINT})
