"""`python -m pipeline_runner` runs once."""

import gc
import os
import signal

if __name__ == "__main__":
    # The first process of a container ignores SIGTERM until it has a handler, and the imports take a moment.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(143))
    # Imports make much that stays and hardly any garbage; looking for it takes a tenth of a start. `main` enables it.
    gc.disable()
    from pipeline_runner.main import run_and_exit

    run_and_exit()
