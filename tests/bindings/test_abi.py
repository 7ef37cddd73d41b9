"""What libgyre_c exports: the functions of gyre.h, versioned, and nothing else. usage: test_abi.py LIBRARY NM HEADER SCRIPT CC CXX"""

import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

LIBRARY, NM, HEADER, SCRIPT, CC, CXX = sys.argv[1:7]


def without_comments(text):
    return re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)


class Abi(unittest.TestCase):
    def declared(self):
        return set(re.findall(r"\b(gyre_\w+)\(", without_comments(pathlib.Path(HEADER).read_text())))

    def listed(self):
        """Functions of the version script, each with its version."""
        versions = re.findall(r"(GYRE_\d+) \{(.*?)\}", pathlib.Path(SCRIPT).read_text(), re.DOTALL)
        return {name: version for version, functions in versions for name in re.findall(r"\b(gyre_\w+);", functions)}

    def test_the_library_exports_the_functions_of_the_header_and_nothing_else(self):
        lines = subprocess.run([NM, "--dynamic", "--defined-only", "--with-symbol-versions", LIBRARY],
                               capture_output=True, text=True, check=True).stdout.splitlines()  # fmt: skip
        exported = {line.split()[-1] for line in lines if line.split()[-2] != "A"}  # A: the version's own name
        self.assertEqual(exported, {f"{name}@@{version}" for name, version in self.listed().items()})

    def test_the_version_script_lists_the_functions_of_the_header(self):
        self.assertEqual(set(self.listed()), self.declared())

    def test_the_header_is_strict_c99_and_cxx_and_needs_nothing_else(self):
        for compiler, standard, language in ((CC, "c99", "c"), (CXX, "c++11", "c++"), (CXX, "c++20", "c++")):
            with tempfile.TemporaryDirectory() as folder:
                source = pathlib.Path(folder) / "only.c"
                source.write_text('#include "gyre.h"\nint main(void) { return gyre_version() == 0; }\n')
                done = subprocess.run([compiler, "-x", language, f"-std={standard}", "-pedantic-errors", "-Wall", "-Wextra", "-Werror", "-I", str(pathlib.Path(HEADER).parent), "-fsyntax-only", str(source)],
                                      capture_output=True, text=True)  # fmt: skip
                self.assertEqual((done.returncode, done.stderr), (0, ""))


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[7:]])
