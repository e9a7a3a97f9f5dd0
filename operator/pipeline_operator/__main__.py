"""`python -m pipeline_operator` runs the operator."""

import os
import signal
import sys

if __name__ == "__main__":
    # The first process of a container ignores SIGTERM until it has a handler, and the imports take a moment.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(143))
    from pipeline_operator.main import main

    sys.exit(main())
