"""Time the slides' program and main.py in turn: python tests/benchmark.py ROUNDS"""
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

if len(sys.argv) != 2:
    sys.exit("Say how many rounds, of two or three minutes each: python tests/benchmark.py 3")

os.environ["MPLBACKEND"] = "agg"  # no run waits for a window to be closed

with tempfile.TemporaryDirectory() as folder:
    shutil.copytree(ROOT / "data/MNIST", Path(folder, "data/MNIST"))  # from an earlier run

    for _ in range(int(sys.argv[1])):
        for program in ("tests/slides.txt", "main.py"):
            start = time.perf_counter()
            subprocess.run([sys.executable, ROOT / program], cwd=folder, input=b"n\n\n",
                           stdout=subprocess.DEVNULL, check=True)
            print(f"{program}: {time.perf_counter() - start:.1f} s", flush=True)
