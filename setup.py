"""The extensions; everything else is in pyproject.toml.

Without a C compiler the compiled engine is omitted, and TensorFlow runs every model. Without cargo the native transport
is omitted, and grpcio serves gRPC.
"""

import runpy
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

WHEEL_RESOLVE_SECONDS = 60.0
"""Time that cargo's registry has to answer: a wheel is built once, for many installations."""


def extension(name: str, files: str) -> Extension:
    """Returns an extension for the limited API: one wheel serves every Python from 3.11."""
    return Extension(
        f"textmodel.{name}",
        sources=sorted(map(str, Path("textmodel").glob(f"{files}.c"))),
        depends=sorted(map(str, Path("textmodel").glob(f"{files}.h"))),
        extra_compile_args=["-std=c11", "-O3", "-fno-math-errno", "-fvisibility=hidden"],
        libraries=["m"],
        py_limited_api=True,
        optional=True,
    )


class BuildExtensions(build_ext):
    """Builds the native transport too. For an editable installation the Makefile builds it and shows the progress."""

    def run(self) -> None:
        """Runs the command."""
        super().run()
        if not (self.inplace or self.editable_mode):
            transport = runpy.run_path("service/grpc/native/build.py")
            library = Path(self.build_lib, "service", "grpc", transport["LIBRARY"].name)
            transport["build_or_say_why_not"](library, WHEEL_RESOLVE_SECONDS)


setup(
    cmdclass={"build_ext": BuildExtensions},
    ext_modules=[extension("_native", "native/*")],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
