"""One llama.cpp server in this process: what `LlamaCppServer` starts, as a script by its path.

It imports nothing but xllamacpp, so it is small and up quickly. The API key comes in the
environment variable RUNNER_API_KEY. SIGTERM ends it at once: a graceful end would wait for the
requests in flight, for up to a minute, and nobody waits for those any more.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys


def main() -> None:
    """Serve until a signal ends the process."""
    options = parse()
    try:
        import xllamacpp
    except ImportError as error:
        sys.exit(f"Cannot load xllamacpp: {error}. If libgomp is missing: apt-get install libgomp1")
    params = xllamacpp.CommonParams()
    params.model.path = options.weights
    params.model_alias = {options.name}
    params.hostnames = [options.host]
    params.port = options.port
    params.api_keys = [os.environ["RUNNER_API_KEY"]]
    params.n_parallel = options.slots
    params.n_ctx = options.slots * options.context
    params.cpuparams.n_threads = options.threads
    params.cpuparams_batch.n_threads = options.batch_threads
    params.cache_ram_mib = options.cache_ram_mib
    params.endpoint_metrics = True
    params.endpoint_slots = True
    params.ui = False
    server = xllamacpp.Server(params)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    while server:
        signal.pause()


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", required=True, help="GGUF file")
    parser.add_argument("--name", required=True, help="model name in the API")
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--slots", type=int, required=True, help="requests decoded at once")
    parser.add_argument("--context", type=int, required=True, help="tokens per slot")
    parser.add_argument("--threads", type=int, required=True, help="decode threads")
    parser.add_argument("--batch-threads", type=int, required=True, help="prefill threads")
    parser.add_argument("--cache-ram-mib", type=int, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
