"""What the trainer's tests share: a small model, and a book of documents between empty lines to train it on."""

import pathlib
import random
import tempfile

MODEL = "--layers 2 --width 16 --heads 4 --kv-heads 2 --head-dim 8 --hidden 24 --tokens 300".split()


def folder_with_book(test):
    """A folder that ends with the test, and in it the file `text`: the same one always."""
    scratch = tempfile.TemporaryDirectory()
    test.addCleanup(scratch.cleanup)
    folder = pathlib.Path(scratch.name)
    draw = random.Random(1)
    words = ["and", "the", "earth", "was", "without", "form"]
    documents = ["".join(" ".join(draw.choices(words, k=6)) + "\n" for _ in range(draw.randint(1, 6))) for _ in range(30)]
    (folder / "text").write_text("\n".join(documents))
    return folder
