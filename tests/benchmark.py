"""Time the slides' program and main.py in turn: python tests/benchmark.py ROUNDS"""
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
SECONDS = {"tests/slides.txt": [], "main.py": []}
RUN = {"input": b"n\n\n", "stdout": subprocess.DEVNULL, "check": True}
os.environ["MPLBACKEND"] = "agg"  # no run waits for a window to be closed
if len(sys.argv) != 2:
    sys.exit("Say how many rounds, of two or three minutes each: python tests/benchmark.py 3")
with tempfile.TemporaryDirectory() as folder:
    shutil.copytree(ROOT / "data/MNIST", Path(folder, "data/MNIST"))  # from an earlier run
    for _ in range(int(sys.argv[1])):
        for program, seconds in SECONDS.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, ROOT / program], cwd=folder, **RUN)
            seconds.append(time.perf_counter() - start)
            print(f"{program}: {seconds[-1]:.1f} s", flush=True)
slides, ours = [median(seconds) for seconds in SECONDS.values()]
print(f"main.py is {slides / ours:.2f} times as fast, by the medians")
