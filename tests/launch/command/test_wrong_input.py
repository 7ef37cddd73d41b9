"""One line and one status when something is wrong."""

import functools
import math
import os
import resource
import subprocess
import unittest

from command import CommandTest, GYRE, main
from tensor_files import load, save


class WrongInput(CommandTest):
    def refuse_everywhere(self, *arguments, saying=()):
        self.refuse("run", *arguments, saying=saying)
        self.refuse("run", *arguments, "--ranks", 3, saying=saying)

    def files(self, **replaced):
        """Arguments with good files, some of them replaced."""
        names = {}
        for name, heads in (("q", 4), ("k", 2), ("v", 2)):
            names[name] = replaced.get(name) or self.path(name + ".npy")
            if name not in replaced:
                save(names[name], (6, heads, 3), [0.5] * (6 * heads * 3))
        return [text for name, path in names.items() for text in ("--" + name, path)]

    def test_no_subcommand_and_unknown_names(self):
        self.refuse(saying="gyre run")
        self.refuse("jog", "--ranks", "4", saying=("unknown subcommand 'jog'", "gyre plan"))
        self.refuse_everywhere("--synthetic", 9, "--dual-chunk", "8,2", saying=("--dual-chunk", "give --rope BASE"))
        self.refuse_everywhere("--synthetic", 9, "--head-dim", 15, "--rope", "10000", saying=("15 dims", "even"))
        self.refuse_everywhere("--synthetic", 9, "--reproducible", saying="--reproducible is not built yet; remove it")
        self.refuse_everywhere("--synthetic", 9, "--querry-offset", "3", saying=("--querry-offset", "--query-offset?"))

    def test_masks_and_choices_that_do_not_parse(self):
        for option, value in (("--mask", "causal &"), ("--mask", "blocks(b.npy,4)"), ("--mask", "window(-1)"), ("--mask", "documents(4,4)"),
                              ("--partition", "diagonal"), ("--strategy", "spiral"), ("--strategy", "hybrid"), ("--strategy", "hybrid(64)"),
                              ("--strategy", "double_ring(7)"), ("--isa", "sse9"), ("--unit", "100000"),
                              ("--device", "cuda"), ("--dtype", "fp8"), ("--softcap", "0"), ("--softcap", "-2"), ("--query-offset", "99999999999999999")):  # fmt: skip
            self.refuse_everywhere("--synthetic", 9, option, value)

    def test_files_that_are_missing_or_not_tensors(self):
        self.refuse_everywhere(*self.files(k=self.path("missing.npy")), saying=("missing.npy", "No such file"))
        self.refuse_everywhere(*self.files(v=self.folder), saying=(self.folder, "not a regular file"))
        with open(self.path("text.npy"), "w", encoding="utf-8") as file:
            file.write("not a tensor")
        self.refuse_everywhere(*self.files(q=self.path("text.npy")), saying=("text.npy", "not a .npy file"))
        save(self.path("ints.npy"), (6, 2, 3), [0.0] * 36, "<i4")
        self.refuse_everywhere(*self.files(k=self.path("ints.npy")), saying=("ints.npy", "<i4"))
        save(self.path("short.npy"), (6, 2, 3), [0.0] * 30)
        self.refuse_everywhere(*self.files(k=self.path("short.npy")), saying=("short.npy", "truncated"))
        save(self.path("flat.npy"), (6, 2), [0.0] * 12)
        self.refuse_everywhere(*self.files(k=self.path("flat.npy")), saying=("flat.npy", "[tokens, heads, dim]"))

    def test_sink_logits_that_are_none(self):
        for name, shape, values, descr, saying in (("few.npy", (3,), [0.0] * 3, "<f4", ("has 3 logits", "4 query heads")),
                                                   ("square.npy", (2, 2), [0.0] * 4, "<f4", ("[2, 2]", "[query heads]")),
                                                   ("wide.npy", (4,), [0.0] * 4, "<f8", ("<f8", "float32")),
                                                   ("nan.npy", (4,), [0.0, 1.0, math.nan, 2.0], "<f4", ("head 2", "nan", "finite"))):  # fmt: skip
            save(self.path(name), shape, values, descr)
            self.refuse_everywhere(*self.files(), "--sinks-logits", self.path(name), saying=(name, *saying))
        self.refuse_everywhere(*self.files(), "--sinks-logits", self.path("none.npy"), saying=("--sinks-logits", "none.npy", "No such file"))
        self.refuse_everywhere("--synthetic", 9, "--dropout", "1.5,3", saying=("--dropout is '1.5,3'", "0 to 0.999"))

    @unittest.skipIf(os.geteuid() == 0, "root may read everything")
    def test_a_file_that_may_not_be_read(self):
        arguments = self.files()
        os.chmod(self.path("k.npy"), 0)
        self.refuse_everywhere(*arguments, saying=("k.npy", "Permission denied"))

    def test_a_pipe_that_nobody_writes_to_does_not_hang(self):
        os.mkfifo(self.path("pipe.npy"))
        self.refuse_everywhere(*self.files(q=self.path("pipe.npy")), saying="not a regular file")

    def test_shapes_that_contradict_each_other(self):
        save(self.path("other.npy"), (5, 2, 3), [0.0] * 30)
        self.refuse_everywhere(*self.files(v=self.path("other.npy")), saying=("--k ", "k.npy has 6 tokens, --v ", "other.npy has 5; they must be equal"))
        save(self.path("other.npy"), (6, 1, 3), [0.0] * 18)
        self.refuse_everywhere(*self.files(v=self.path("other.npy")), saying=("k.npy has 2 heads, --v ", "other.npy has 1"))
        save(self.path("other.npy"), (6, 2, 4), [0.0] * 48)
        self.refuse_everywhere(*self.files(k=self.path("other.npy")), saying=("--q ", "q.npy has 3 channels, --k ", "other.npy has 4"))
        save(self.path("other.npy"), (6, 3, 3), [0.0] * 54)
        self.refuse_everywhere(*self.files(q=self.path("other.npy")), saying=("--q ", "other.npy has 3 heads, --k ", "k.npy has 2; the heads of keys must be a divisor"))
        save(self.path("wide.npy"), (6, 2, 577), [0.0] * (6 * 2 * 577))
        self.refuse_everywhere(*self.files(v=self.path("wide.npy")), saying=("--v ", "wide.npy has 577 channels; at most 576 are supported"))

    def test_values_that_are_not_finite_are_named_by_their_place_on_one_rank_or_three(self):
        values = [0.5] * 36
        values[4 * 6 + 1 * 3 + 2] = math.nan
        save(self.path("nan.npy"), (6, 2, 3), values)
        self.refuse_everywhere(*self.files(k=self.path("nan.npy")), "--unit", 2, saying="nan.npy: token 4, head 1, channel 2 is nan")
        values[4 * 6 + 1 * 3 + 2] = 1e300
        save(self.path("large.npy"), (6, 2, 3), values, "<f8")
        self.refuse_everywhere(*self.files(k=self.path("large.npy")), "--unit", 2, saying="channel 2 is inf as float32")
        values[4 * 6 + 1 * 3 + 2] = -65520.0
        save(self.path("large.npy"), (6, 2, 3), values)
        self.succeed("run", *self.files(k=self.path("large.npy")), "--dtype", "bf16")
        self.refuse_everywhere(*self.files(k=self.path("large.npy")), "--unit", 2, "--dtype", "f16",
                               saying="large.npy: token 4, head 1, channel 2 is -inf as f16; give values in its range, or --dtype f32")  # fmt: skip

    def test_outputs_that_cannot_be_written_or_would_overwrite_an_input(self):
        nowhere = self.path("no/such/folder/out.npy")
        for option in ("--out", "--lse", "--report", "--trace"):
            self.refuse_everywhere("--synthetic", 9, option, nowhere, saying=(nowhere, "No such file"))
        self.refuse_everywhere("--synthetic", 9, "--out", self.path("good.npy"), "--report", self.folder, saying="not a regular file")
        arguments = self.files()
        self.refuse_everywhere(*arguments, "--out", self.path("q.npy"), saying=("--out and --q", "q.npy"))
        os.symlink(self.path("k.npy"), self.path("link.npy"))
        self.refuse_everywhere(*arguments, "--lse", self.path("link.npy"), saying="--lse and --k")
        detour = os.path.join(self.folder, ".", "out.npy")
        self.refuse_everywhere(*arguments, "--out", detour, "--lse", self.path("out.npy"), saying="--lse and --out")
        self.refuse_everywhere("--synthetic", 9, "--report", self.path("r.json"), "--trace", detour.replace("out.npy", "r.json"),
                               saying="--trace and --report")  # fmt: skip
        self.refuse_everywhere(*arguments, "--trace", self.path("v.npy"), saying=("--trace and --v", "v.npy"))
        self.refuse_everywhere("--synthetic", 9, "--out", self.path("out.txt"), saying="does not end in .npy or .safetensors")

    def test_what_a_killed_run_left_does_not_stop_the_next_one(self):
        self.kill_and_run_again([])

    def test_an_input_that_has_the_name_of_a_partial_output_is_not_removed(self):
        arguments = self.files(q=self.path("out.npy.gyre-partial"))
        save(self.path("out.npy.gyre-partial"), (6, 4, 3), [0.5] * 72)
        self.refuse_everywhere(*arguments, "--out", self.path("out.npy"), saying=("--out and --q", "give the output a name of its own"))
        self.assertTrue(os.path.exists(self.path("out.npy.gyre-partial")))

    def test_standard_output_that_is_full_or_closed_ends_in_an_error(self):
        for arguments in (["run", "--synthetic", "9"], ["--help"], ["run", "--synthetic", "9", "--out", self.path("out.npy")]):
            with open("/dev/full", "w", encoding="utf-8") as full:
                done = subprocess.run([GYRE, *arguments], stdout=full, stderr=subprocess.PIPE, text=True)
            self.assertEqual(done.returncode, 2, arguments)
            self.assertIn("gyre: error: standard output could not be written: No space left", done.stderr)
            done = subprocess.run(["sh", "-c", '"$@" >&-', "sh", GYRE, *arguments], stderr=subprocess.PIPE, text=True)
            self.assertEqual((done.returncode, done.stderr.count("gyre: error: ")), (2, 1), done.stderr)
        self.assertEqual(load(self.path("out.npy"))[0], (9, 8, 64))

    def test_a_file_beyond_the_size_limit_of_a_process_is_refused(self):
        limit = functools.partial(resource.setrlimit, resource.RLIMIT_FSIZE, (10_000, 10_000))
        done = subprocess.run([GYRE, "run", "--synthetic", "300", "--out", self.path("out.npy")], preexec_fn=limit, capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout, os.listdir(self.folder)), (2, "", []), done.stderr)
        self.assertIn("out.npy: cannot be written: File too large", done.stderr)

    @unittest.skipIf("undefined" in os.environ.get("GYRE_SANITIZE", ""), "UndefinedBehaviorSanitizer looks at objects through a pipe")
    def test_too_few_descriptors_are_told_from_a_folder_that_is_missing(self):
        limit = functools.partial(resource.setrlimit, resource.RLIMIT_NOFILE, (8, 8))
        arguments = ["run", "--synthetic", "300", "--ranks", "8", "--out", self.path("out.npy")]
        done = subprocess.run([GYRE, *arguments], preexec_fn=limit, capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout, os.listdir(self.folder)), (2, "", []), done.stderr)
        self.assertIn("Too many open files; raise the limit of open files (ulimit -n)", done.stderr)

    def test_outputs_behind_links_are_told_apart_by_what_they_point_to(self):
        os.symlink("made.npy", self.path("a.npy"))
        os.symlink(self.path("made.npy"), self.path("b.npy"))
        os.symlink("loop.npy", self.path("loop.npy"))
        self.refuse_everywhere("--synthetic", 9, "--out", self.path("a.npy"), "--lse", self.path("b.npy"), saying="--lse and --out")
        self.refuse_everywhere("--synthetic", 9, "--out", self.path("loop.npy"), saying=("loop.npy", "Too many levels of symbolic links"))
        self.refuse("run", "--synthetic", 9, "--out", self.path("loop.npy"), mpi=3, saying=("loop.npy", "choose another name"))
        self.succeed("run", "--synthetic", 9, "--ranks", 2, "--out", self.path("a.npy"))
        self.assertTrue(os.path.islink(self.path("a.npy")))
        self.assertEqual(load(self.path("made.npy"))[0], (9, 8, 64))

    def test_missing_files_are_named_with_their_option_and_a_remedy(self):
        for option in ("q", "k", "v"):
            remedy = (f"--{option} ", "missing.npy: cannot be read: No such file or directory; give a file that is there on every rank")
            self.refuse_everywhere(*self.files(**{option: self.path("missing.npy")}), saying=remedy)
        self.refuse_everywhere("--input", self.path("missing.safetensors"), saying=("--input ", "No such file", "give a file"))
        self.refuse("run", "--q", saying="--q needs a value; give one: --q FILE")

    def test_a_failed_run_leaves_an_older_result_as_it_was(self):
        save(self.path("out.npy"), (1, 1, 1), [7.0])
        self.refuse_everywhere(*self.files(), "--out", self.path("out.npy"), "--report", self.path("no/r.json"))
        self.assertEqual(load(self.path("out.npy"))[1][0], 7.0)


if __name__ == "__main__":
    main()
