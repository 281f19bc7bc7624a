"""The script's promise: any function that a student wrote from the slides fits in."""
import ast
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from conftest import SCRIPT
from matplotlib.colors import to_rgba
from torchvision import datasets, transforms

import main

SLIDES = '''
def load_data(batch_size=64):
    transform = transforms.Compose([
        transforms.ToTensor(),
        transforms.Normalize((0.5,), (0.5,))
    ])
    train_data = datasets.MNIST(
        root="./data", train=True, download=True, transform=transform
    )
    test_data = datasets.MNIST(
        root="./data", train=False, download=True, transform=transform
    )
    train_loader = DataLoader(train_data, batch_size=batch_size, shuffle=True)
    test_loader = DataLoader(test_data, batch_size=batch_size, shuffle=False)
    return train_loader, test_loader
class DigitCNN(nn.Module):
    def __init__(self):
        super(DigitCNN, self).__init__()
        self.conv_layers = nn.Sequential(
            nn.Conv2d(1, 32, kernel_size=3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, kernel_size=3),
            nn.ReLU(),
            nn.MaxPool2d(2)
        )
        self.fc_layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(64 * 5 * 5, 64),
            nn.ReLU(),
            nn.Linear(64, 10)
        )
    def forward(self, x):
        x = self.conv_layers(x)
        x = self.fc_layers(x)
        return x
def train_model(model, train_loader, epochs=5):
    criterion = nn.CrossEntropyLoss()
    optimizer = optim.Adam(model.parameters(), lr=0.001)
    model.train()
    for epoch in range(epochs):
        total_loss = 0
        for images, labels in train_loader:
            optimizer.zero_grad()
            outputs = model(images)
            loss = criterion(outputs, labels)
            loss.backward()
            optimizer.step()
            total_loss += loss.item()
        print(f"Epoch [{epoch + 1}/{epochs}], Loss: {total_loss:.4f}")
def evaluate_model(model, test_loader):
    model.eval()
    correct = 0
    total = 0
    with torch.no_grad():
        for images, labels in test_loader:
            outputs = model(images)
            _, predicted = torch.max(outputs.data, 1)
            total += labels.size(0)
            correct += (predicted == labels).sum().item()
    print(f"Test Accuracy: {100 * correct / total:.2f}%")
def show_predictions(model, test_loader):
    model.eval()
    dataset = test_loader.dataset
    indices = sample(range(len(dataset)), 5)
    for i in indices:
        image, _ = dataset[i]
        output = model(image.unsqueeze(0))
        _, pred = torch.max(output, 1)
        plt.imshow(image.squeeze(), cmap="gray")
        plt.title(f"Prediction: {pred.item()}")
        plt.axis("off")
        plt.show()
def main():
    model_path = "digit_cnn.pth"
    print("Loading data...")
    train_loader, test_loader = load_data()
    print("Building model...")
    model = DigitCNN()
    use_saved = input("Load saved model? (y/n): ").strip().lower()
    if use_saved == "y":
        if os.path.exists(model_path):
            model.load_state_dict(torch.load(model_path))
            model.eval()
            print("Loaded saved model.")
            print("Evaluating...")
            evaluate_model(model, test_loader)
            print("Showing sample predictions...")
            show_predictions(model, test_loader)
            return
        else:
            print("No saved model found, training new model...")
    print("Training...")
    train_model(model, train_loader, epochs=5)
    torch.save(model.state_dict(), model_path)
    print("Evaluating...")
    evaluate_model(model, test_loader)
    print("Showing sample predictions...")
    show_predictions(model, test_loader)
'''
NAMES = ["load_data", "DigitCNN", "train_model", "evaluate_model", "show_predictions", "main"]
ACCURACY = r"Test Accuracy: ([\d.]+)%"


def functions(program):
    """Return the text of each function of a program, by its name."""
    return {node.name: ast.get_source_segment(program, node) for node in ast.parse(program).body
            if hasattr(node, "name")}


@pytest.mark.filterwarnings("ignore:FigureCanvasAgg is non-interactive")
@pytest.mark.parametrize("only", [True, False], ids=["theirs in ours", "ours in theirs"])
@pytest.mark.parametrize("name", NAMES)
def test_the_slides_functions_fit_in(name, only, mnist, run, capsys):
    script = SCRIPT
    for other in NAMES:
        if (other == name) == only:
            script = script.replace(functions(SCRIPT)[other], functions(SLIDES)[other])
    run("n", script=script)
    assert float(re.search(ACCURACY, capsys.readouterr().out)[1]) > 75


def test_a_saved_model_reads_as_well_when_it_is_loaded(mnist, run, capsys):
    run("n")
    run("y")
    trained, loaded = re.findall(ACCURACY, capsys.readouterr().out)
    assert trained == loaded


def test_the_question_comes_again_until_the_answer_is_yes_or_no(mnist, run, capsys):
    run("Maybe", "", " Yes ")
    assert capsys.readouterr().out.count("Load saved model? (y/n): ") == 3


def test_images_are_bit_for_bit_those_of_the_slides(mnist):
    for fast, loader in zip(main.load_fast("mnist"), main.load_data()):
        assert all(torch.equal(ours[0], theirs[0]) and ours[1] == theirs[1]
                   for ours, theirs in zip(fast.dataset, loader.dataset, strict=True))


def test_a_random_transform_stays_random(mnist):
    steps = [transforms.RandomRotation(10), transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))]
    loader = torch.utils.data.DataLoader(datasets.MNIST("./data", transform=transforms.Compose(steps)))
    assert main.make_fast(loader) is loader


def test_the_loss_falls(loaders, capsys):
    main.train_model(main.DigitCNN(), loaders[0], epochs=2)
    first, second = re.findall(r"Epoch \[\d/2\], Loss: (\d+\.\d{4})\n", capsys.readouterr().out)
    assert float(second) < float(first) / 2


def test_evaluating_changes_nothing(model, loaders):
    before = [weights.clone() for weights in model.parameters()]
    main.evaluate_model(model, loaders[1])
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters()))


def test_the_true_label_is_orange_under_each_prediction(model, loaders, folder, monkeypatch):
    monkeypatch.setattr(main, "sample", lambda numbers, count: list(numbers)[:count])  # the first five
    main.show_predictions(model, loaders[1])
    axes = plt.gcf().axes
    for image, chart, (_, label) in zip(axes[::2], axes[1::2], loaders[1].dataset):
        assert image.get_title() == f"Prediction: {np.argmax([bar.get_height() for bar in chart.patches])}"
        assert chart.patches[label].get_facecolor() == to_rgba("orange")
