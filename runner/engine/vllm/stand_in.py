"""A stand-in for vLLM: its flags, endpoints and metric names, with random replies behind them.

For tests on machines without vLLM. `python_path` makes a folder that passes for an installed vLLM
once it is on PYTHONPATH, which `engine.env` can do. What it says of flags, answers and metrics was
read off vLLM 0.32.0 as it ran.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiohttp import web

import runner
from runner.engine.simulated.bodies import Answer, completion
from runner.engine.simulated.options import Options
from runner.engine.simulated.serve import make_app, run
from runner.engine.simulated.stand_in import StandIn
from runner.engine.vllm.command import KEY, MODULE

VERSION = "0.32.0"
LATENCY = "RUNNER_STAND_IN_LATENCY_S"
"""Environment variable: how long each reply takes."""
ERRORS = {400: "BadRequestError", 404: "NotFoundError", 503: "ServiceUnavailableError"}
BLOCK = 16
SLOTS = 256
"""vLLM's default of `--max-num-seqs` for a chat server."""

_MAIN = "from runner.engine.vllm.stand_in import main\n\nmain()\n"
_METADATA = f"Metadata-Version: 2.1\nName: vllm\nVersion: {VERSION}\n"


class VLLMStandIn(StandIn):
    """The simulated server, in the words of vLLM."""

    async def complete(self, request: web.Request) -> web.Response:
        """`POST /v1/chat/completions`: as the simulated one, but names of models are checked."""
        asked = (await request.json()).get("model")
        if asked != self.options.name:
            return self.refuse(404, f"The model `{asked}` does not exist.")
        return await super().complete(request)

    def completion(self, answer: Answer, body: Mapping[str, Any]) -> dict[str, Any]:
        """Without what only SGLang says."""
        return completion(answer)

    def refuse(self, status: int, message: str) -> web.Response:
        """An error in vLLM's form."""
        kind = ERRORS.get(status, "InternalServerError")
        error = {"message": message, "type": kind, "param": None, "code": status}
        return web.json_response({"error": error}, status=status)

    def guarded(self, path: str) -> bool:
        """vLLM wants a key for the API alone."""
        return path.startswith("/v1")

    async def metrics(self, request: web.Request) -> web.Response:
        """`GET /metrics`."""
        load, tokens = self.load(), self.options.kv_tokens
        series = f'engine="0",model_name="{self.options.name}"'
        blocks = f'block_size="{BLOCK}",num_gpu_blocks="{tokens // BLOCK}"'
        found = {
            f"vllm:num_requests_running{{{series}}}": load.running,
            f"vllm:num_requests_waiting{{{series}}}": load.waiting,
            f'vllm:num_requests_waiting_by_reason{{{series},reason="capacity"}}': load.waiting,
            f"vllm:kv_cache_usage_perc{{{series}}}": load.used / tokens,
            f"vllm:prefix_cache_queries_total{{{series}}}": self.finished.prompt,
            f"vllm:prefix_cache_hits_total{{{series}}}": self.finished.cached,
            f"vllm:num_preemptions_total{{{series}}}": load.retracted,
            f"vllm:prompt_tokens_total{{{series}}}": self.finished.prompt,
            f"vllm:generation_tokens_total{{{series}}}": self.finished.generated,
            f'vllm:cache_config_info{{engine="0",{blocks},kv_cache_size_tokens="{tokens}"}}': 1,
        }
        return web.Response(text="".join(f"{name} {float(n)}\n" for name, n in found.items()))


def python_path(folder: Path) -> str:
    """Make `folder` pass for an installed vLLM; what PYTHONPATH must be for that."""
    script = folder.joinpath(*MODULE.split(".")).with_suffix(".py")
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(_MAIN)
    metadata = folder / f"vllm-{VERSION}.dist-info" / "METADATA"
    metadata.parent.mkdir(exist_ok=True)
    metadata.write_text(_METADATA)
    home = Path(runner.__file__).parent.parent
    return os.pathsep.join([str(folder), str(home)])


def parser() -> argparse.ArgumentParser:
    """Those of vLLM's flags that it knows; all but a few change nothing."""
    found = argparse.ArgumentParser(prog="vllm", allow_abbrev=False)
    serve = found.add_subparsers(dest="command", required=True).add_parser(
        "serve", allow_abbrev=False
    )
    serve.add_argument("model_tag")
    for name in ("host", "served-model-name", "master-addr", "dtype", "reasoning-parser"):
        serve.add_argument(f"--{name}")
    for name in ("port", "nnodes", "node-rank", "master-port"):
        serve.add_argument(f"--{name}", type=int, default=1)
    serve.add_argument("--max-model-len", type=int, required=True)
    serve.add_argument("--tensor-parallel-size", "-tp", type=int, default=1)
    serve.add_argument("--max-num-seqs", type=int, default=SLOTS)
    serve.add_argument("--max-num-batched-tokens", type=int, default=2048)
    serve.add_argument("--num-gpu-blocks-override", type=int, default=8192)
    serve.add_argument("--gpu-memory-utilization", type=float, default=0.92)
    serve.add_argument("--scheduling-policy", choices=["fcfs", "priority"], default="fcfs")
    serve.add_argument("--distributed-executor-backend", choices=["mp", "ray", "uni"])
    serve.add_argument("--runner", choices=["auto", "draft", "generate", "pooling"])
    serve.add_argument("--structured-outputs-config", default="{}")
    serve.add_argument("--allowed-origins", nargs="+")
    serve.add_argument("--headless", action="store_true")
    for name in ("enforce-eager", "enable-prompt-tokens-details", "enable-chunked-prefill"):
        serve.add_argument(f"--{name}", action=argparse.BooleanOptionalAction)
    for name in ("disable-uvicorn-access-log", "disable-custom-all-reduce"):
        serve.add_argument(f"--{name}", action=argparse.BooleanOptionalAction)
    return found


def main() -> None:
    """`vllm serve MODEL …`, or `vllm serve --help=all`."""
    words = ["--help" if word == "--help=all" else word for word in sys.argv[1:]]
    options = parser().parse_args(words)
    if options.headless:  # No API; a part of a server that answers elsewhere.
        signal.pause()
    made = Options(
        name=options.served_model_name or options.model_tag,
        context=options.max_model_len,
        slots=options.max_num_seqs,
        kv_tokens=options.num_gpu_blocks_override * BLOCK,
        latency_s=float(os.environ.get(LATENCY, "0")),
    )
    run(make_app(made, os.environ[KEY], VLLMStandIn), options.host, options.port)
