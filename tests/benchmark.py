"""The slides' functions and this script's in turn, on the MNIST in ./data: seconds and accuracy of each.

    python tests/benchmark.py 3        (rounds; each takes minutes)
"""
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

IMPORTS = f"import sys; sys.path[:0] = {[str(Path(__file__).parent), str(Path(__file__).parent.parent)]}; import main; "
RUN = "model = main.DigitCNN(); main.train_model(model, loaders[0]); main.evaluate_model(model, loaders[1])"
PROGRAMS = {"slides": IMPORTS + "import test_slides; exec(test_slides.SLIDES, vars(main)); loaders = main.load_data(); " + RUN,
            "script": IMPORTS + "loaders = main.load_fast('mnist'); " + RUN}

seconds = {way: [] for way in PROGRAMS}
for number in range(int(sys.argv[1])):
    for way, program in PROGRAMS.items():
        start = time.perf_counter()
        output = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
        seconds[way].append(time.perf_counter() - start)
        print(f"{way} {seconds[way][-1]:6.1f} s, {output.splitlines()[-1]}", flush=True)
print(f"script is {median(seconds['slides']) / median(seconds['script']):.1f} times as fast by the medians")
