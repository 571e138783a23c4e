"""The settings that pyproject.toml cannot express: packages and compiled kernels."""

import sys
from glob import glob

from Cython.Build import cythonize
from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError, LinkError

FOLDER = "lib/kernels"
SOURCES = (
    *("nms", "soft_nms", "match", "roi_bilinear", "roi_max"),
    *("polygons", "pasting"),
)
OPENMP = "-fopenmp"

# No fast-math and no fused multiply-add: suppression and the bins of RoI max pooling
# must agree with torchvision to the last bit. Floating-point traps are not used;
# without them the compiler also vectorises loops with a conditional division.
kernels = Extension(
    "faster_rcnn.kernels._cpu",
    [f"{FOLDER}/_cpu.pyx", *(f"{FOLDER}/csrc/{name}.c" for name in SOURCES)],
    depends=glob(f"{FOLDER}/csrc/*.h"),
    extra_compile_args=[
        "-O3",
        "-std=gnu11",
        "-ffp-contract=off",
        "-fno-trapping-math",
        OPENMP,
    ],
    extra_link_args=[OPENMP],
)


class BuildKernels(build_ext):
    """Build without OpenMP if the compiler does not support it."""

    def build_extension(self, ext):
        try:
            super().build_extension(ext)
        except (CompileError, LinkError):
            print("building the kernels without OpenMP", file=sys.stderr)
            ext.extra_compile_args.remove(OPENMP)
            ext.extra_link_args.remove(OPENMP)
            super().build_extension(ext)


(extension,) = cythonize([kernels], language_level=3)
# Without a compiler, torchvision's operators are the fallback. cythonize drops this
# attribute, so it is set here.
extension.optional = True

setup(
    packages=[
        "faster_rcnn",
        "faster_rcnn.recipes",
        *(f"faster_rcnn.{package}" for package in find_packages("lib")),
    ],
    ext_modules=[extension],
    cmdclass={"build_ext": BuildKernels},
)
