"""The slides' functions and this script's in turn, on the MNIST in ./data: seconds and accuracy of each.

    python tests/benchmark.py 3        (rounds; each takes minutes)
"""
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

FOLDER = Path(__file__).resolve().parent
SLIDES = (FOLDER / "test_slides.py").read_text(encoding="utf-8").split("SLIDES = '''")[1].split("'''")[0]
SCRIPT = f"import sys; sys.path.insert(0, {str(FOLDER.parent)!r})\nfrom main import *\n"
RUN = "\nmodel = DigitCNN()\ntrain_model(model, train_loader)\nevaluate_model(model, test_loader)"
PROGRAMS = {"slides": SCRIPT + SLIDES + "\ntrain_loader, test_loader = load_data()" + RUN,
            "script": SCRIPT + "train_loader, test_loader = load_fast('mnist')" + RUN}

seconds = {"slides": [], "script": []}
for number in range(int(sys.argv[1])):
    for way, program in PROGRAMS.items():
        start = time.perf_counter()
        command = [sys.executable, "-c", program]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        seconds[way].append(time.perf_counter() - start)
        print(f"{way} {seconds[way][-1]:6.1f} s, {output.splitlines()[-1]}", flush=True)
print(f"script is {median(seconds['slides']) / median(seconds['script']):.1f} times as fast by the medians")
