"""What the programs of longbook share: the model, the book, and runs of gyre_bench_longbook. Standard library only."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import jobs  # noqa: E402, beside this folder

FOLDER = jobs.ROOT / "build" / "longbook"  # what is fetched and made, and never committed
PROGRAM = jobs.GYRE.parent / "gyre_bench_longbook"


def add_arguments(parser, tokens):
    parser.add_argument("--tokens", type=int, default=tokens, help=f"from the book's beginning ({tokens})")
    parser.add_argument("--model", type=pathlib.Path, help="a Llama in a .gguf file; by default the one that bench/longbook/fetch_model left")
    parser.add_argument("--text", type=pathlib.Path, help="in UTF-8; by default the King James Version, from Debian's bible-kjv")
    parser.add_argument("--json", help="all figures")


def find_model():
    """The fetched one, or None."""
    found = sorted(FOLDER.glob("*.gguf"))
    return found[0] if found else None


def model(arguments):
    found = arguments.model or find_model()
    if not found:
        raise SystemExit("there is no model: run bench/longbook/fetch_model, or give --model FILE.gguf")
    return found


def text(arguments):
    """The file: a verse a line, without its reference."""
    if arguments.text:
        return arguments.text
    try:
        lines = subprocess.run(["bible", "-f", "gen1:1-rev22:21"], check=True, capture_output=True, text=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError) as error:
        raise SystemExit(f"{error}: install bible-kjv (launch/install_dependencies), or give --text FILE")
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / "kjv.txt"
    path.write_text("".join(line.partition(" ")[2] + "\n" for line in lines), encoding="utf-8")
    return path


def environment():
    """For what starts mpirun."""
    allowed = dict(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1") if os.geteuid() == 0 else {}
    return {**os.environ, **allowed}


def read(ranks, **options):
    """A run of gyre_bench_longbook; options are its own with _ for -, several words as a list. What it writes with --json."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "run.json"
        command = [*jobs.mpirun(ranks), str(PROGRAM), "--json", str(path)]
        for name, value in options.items():
            command += ["--" + name.replace("_", "-"), *map(str, value if isinstance(value, list) else [value])]
        done = subprocess.run(command, env=environment(), stdout=subprocess.DEVNULL)
        if not path.exists():
            raise SystemExit(f"{' '.join(command)}\nended with status {done.returncode}")
        return json.loads(path.read_text())
