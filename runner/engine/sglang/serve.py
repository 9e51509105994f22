"""Runs SGLang's server with its API key: what `SGLangServer` starts, as a script by its path.

The key comes in the environment variable RUNNER_API_KEY. It is taken out of the environment and
handed on inside the process: it shows on no command line, in no log and in no child's environment.
SGLang logs all its arguments when it starts; the key is replaced there. What is left, and cannot be
avoided: whoever has the key can read it in the answer of `/server_info`, and the same user can read
it in `/proc/<pid>/environ`.
"""

from __future__ import annotations

import logging
import os
import runpy
import sys

MODULE = "sglang.launch_server"


def main() -> None:
    """Serve until a signal ends the process."""
    key = os.environ.pop("RUNNER_API_KEY")
    hide_in_logs(key)
    sys.argv = [MODULE, *sys.argv[1:], "--api-key", key]
    # Not `alter_sys`: SGLang's child processes import the main module anew, and this one is light.
    runpy.run_module(MODULE, run_name="__main__")


def hide_in_logs(secret: str) -> None:
    """Every log record of this process is made without `secret`."""
    make = logging.getLogRecordFactory()

    def without(*args: object, **kwargs: object) -> logging.LogRecord:
        record = make(*args, **kwargs)
        said = record.getMessage()
        if secret in said:
            record.msg, record.args = said.replace(secret, "***"), ()
        return record

    logging.setLogRecordFactory(without)


if __name__ == "__main__":
    main()
