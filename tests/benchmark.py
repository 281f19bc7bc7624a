"""The slides' way and this script's way in turn, on the MNIST in ./data: seconds, accuracy and peak memory of each.

    python tests/benchmark.py             two rounds of five epochs each
    python tests/benchmark.py --quick     one epoch each
    python tests/benchmark.py --float32   this script's way without bfloat16 as well

Each run is a process of its own, timed from its start to the saved and evaluated model. The slides' way is theirs in
what costs time: each image transformed anew in every epoch, the plain network in float32, the plain Adam.
"""
import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean

ROOT = Path(__file__).resolve().parent.parent
SHARED = """
import sys
sys.path.insert(0, {root!r})
import torch
import main
"""
SLIDES = SHARED + """
transform = main.transforms.Compose([main.transforms.ToTensor(), main.transforms.Normalize((0.5,), (0.5,))])
train_loader, test_loader = (
    main.DataLoader(main.datasets.MNIST("./data", train=train, transform=transform), batch_size=64, shuffle=train)
    for train in (True, False))
model = main.DigitCNN()
network = torch.nn.Sequential(model.conv_layers, model.fc_layers)
criterion = torch.nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
for epoch in range({epochs}):
    for images, labels in train_loader:
        optimizer.zero_grad()
        loss = criterion(network(images), labels)
        loss.backward()
        optimizer.step()
        loss.item()
torch.save(model.state_dict(), {path!r})
main.evaluate_model(model, test_loader)
"""
SCRIPT = SHARED + """
if not {bfloat16}:
    main.has_bfloat16 = lambda device: False
main.read_photos = main.show_predictions = lambda *arguments: None
train_model = main.train_model
main.train_model = lambda model, train_loader, epochs: train_model(model, train_loader, {epochs})
main.main()
"""

PEAK = """
try:
    import resource
    print("Peak:", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
except ImportError:  # on Windows
    pass
"""


def measure(program, **values):
    """Run `program` and return its seconds, its accuracy in percent and its peak memory in MB (None on Windows)."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(os.path.join("data", "MNIST", "raw"), os.path.join(folder, "data", "MNIST", "raw"))
        program = program.format(root=str(ROOT), path="digit_cnn.pth", **values)
        program += PEAK
        start = time.perf_counter()
        output = subprocess.run([sys.executable, "-c", program], cwd=folder, stdin=subprocess.DEVNULL, check=True,
                                stdout=subprocess.PIPE, text=True).stdout
        seconds = time.perf_counter() - start
    peak = re.search(r"Peak: (\d+)", output)
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return seconds, float(re.search(r"Test Accuracy: ([\d.]+)%", output)[1]), peak and int(peak[1]) / unit


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one epoch instead of five")
    parser.add_argument("--float32", action="store_true", help="measure this script without bfloat16, too")
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    if not os.path.isdir(os.path.join("data", "MNIST", "raw")):
        sys.exit("There is no MNIST in ./data: run main.py once.")
    epochs = 1 if options.quick else 5
    ways = {"slides": (SLIDES, {"epochs": epochs}), "script": (SCRIPT, {"epochs": epochs, "bfloat16": True})}
    if options.float32:
        ways["float32"] = (SCRIPT, {"epochs": epochs, "bfloat16": False})
    results = {way: [] for way in ways}
    for number in range(1, options.rounds + 1):
        for way, (program, values) in ways.items():
            results[way].append(measure(program, **values))
            seconds, accuracy, peak = results[way][-1]
            print(f"round {number}  {way:8} {seconds:6.1f} s  {accuracy:.2f}%  {peak or 0:5.0f} MB", flush=True)
    for way in ways:
        seconds, accuracies, peaks = zip(*results[way])
        peak = mean(peak or 0 for peak in peaks)
        print(f"mean     {way:8} {mean(seconds):6.1f} s  {mean(accuracies):.2f}%  {peak:5.0f} MB")
    for way in list(ways)[1:]:
        ratios = [slow[0] / fast[0] for slow, fast in zip(results["slides"], results[way])]
        print(f"{way} is {mean(ratios):.2f} times as fast as the slides ({', '.join(f'{r:.2f}' for r in ratios)})")


if __name__ == "__main__":
    main()
