"""Time the slides' functions and this script's in turn: python tests/benchmark.py ROUNDS (minutes each)."""
import sys
import time
from statistics import median

from conftest import SLIDES, main

slides = dict(vars(main))
exec(SLIDES, slides)  # puts the slides' functions over this script's, and runs none (__name__ is "main")

seconds = {"slides": [], "script": []}
for number in range(int(sys.argv[1])):
    for way, functions in ("slides", slides), ("script", vars(main)):
        start = time.perf_counter()
        train_loader, test_loader = functions["load_data"]()
        if way == "script":
            train_loader, test_loader = main.make_fast(train_loader), main.make_fast(test_loader)
        model = functions["DigitCNN"]()
        functions["train_model"](model, train_loader)
        functions["evaluate_model"](model, test_loader)
        seconds[way].append(time.perf_counter() - start)
        print(f"{way}: {seconds[way][-1]:.1f} s", flush=True)
print(f"script is {median(seconds['slides']) / median(seconds['script']):.2f} times as fast by the medians")
