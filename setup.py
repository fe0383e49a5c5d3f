"""The compiled parts of textmodel; all else is in pyproject.toml. Without a C compiler they are left out, and
TensorFlow runs every model.
"""

from pathlib import Path

from setuptools import Extension, setup


def extension(name: str, files: str) -> Extension:
    """An extension that one wheel carries for every Python from 3.11 on."""
    return Extension(
        f"textmodel.{name}",
        sources=sorted(map(str, Path("textmodel").glob(f"{files}.c"))),
        depends=sorted(map(str, Path("textmodel").glob(f"{files}.h"))),
        extra_compile_args=["-std=c11", "-O3", "-fno-math-errno", "-fvisibility=hidden"],
        libraries=["m"],
        py_limited_api=True,
        optional=True,
    )


setup(
    ext_modules=[extension("_native", "native/*")],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
