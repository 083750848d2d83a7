"""One thread a library and no windows: set before the libraries are imported, and inherited by subprocesses."""

import os

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MPLBACKEND"] = "Agg"
