"""The slides' way and this script's way in turn, on the MNIST in ./data: seconds and accuracy of each.

    python tests/benchmark.py 3        (rounds; each takes minutes)

Each run is a process of its own. The slides' way is theirs in what costs time: each image transformed anew in every
epoch, the plain network in float32, the plain Adam.
"""
import re
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

SHARED = f"""
import sys
sys.path.insert(0, {str(Path(__file__).resolve().parent.parent)!r})
import torch
import main
"""
SLIDES = SHARED + """
transform = main.transforms.Compose([main.transforms.ToTensor(), main.transforms.Normalize((0.5,), (0.5,))])
train_loader, test_loader = (
    main.DataLoader(main.datasets.MNIST("./data", train=train, transform=transform), batch_size=64, shuffle=train)
    for train in (True, False))
model = main.DigitCNN()
network = torch.nn.Sequential(model.conv_layers, model.fc_layers).to("cpu", memory_format=torch.contiguous_format)
criterion = torch.nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(network.parameters(), lr=0.001)
for epoch in range(5):
    for images, labels in train_loader:
        optimizer.zero_grad()
        loss = criterion(network(images), labels)
        loss.backward()
        optimizer.step()
        loss.item()
main.evaluate_model(network, test_loader)
"""
SCRIPT = SHARED + """
train_loader, test_loader = main.load_data()
model = main.DigitCNN()
main.train_model(model, train_loader)
main.evaluate_model(model, test_loader)
"""

seconds = {"slides": [], "script": []}
for number in range(int(sys.argv[1]) if len(sys.argv) > 1 else 1):
    for way, program in ("slides", SLIDES), ("script", SCRIPT):
        start = time.perf_counter()
        output = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
        seconds[way].append(time.perf_counter() - start)
        accuracy = re.search(r"[\d.]+%", output)[0]
        print(f"{way} {seconds[way][-1]:6.1f} s {accuracy}", flush=True)
print(f"script is {median(seconds['slides']) / median(seconds['script']):.1f} times as fast by the medians")
