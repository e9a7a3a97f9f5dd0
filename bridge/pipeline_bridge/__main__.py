"""`python -m pipeline_bridge` runs the bridge."""

import os
import signal
import sys

if __name__ == "__main__":
    # The first process of a container ignores SIGTERM until it has a handler, and the imports take a moment.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(143))
    from pipeline_bridge.main import main

    sys.exit(main())
