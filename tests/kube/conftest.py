"""Makes `support` and the cluster's parts importable, and stops what a failed test left."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
