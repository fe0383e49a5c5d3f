"""The command `text-classifier-bulk`. It starts where the packages of its extra are missing, and says so."""

import sys

_OWN_PACKAGES = ("bulk", "textmodel", "textfiles")


def main() -> int:
    """Runs the command. Returns its exit status, 2 if a package of the extra is missing."""
    try:
        from bulk.cli import main as command  # noqa: PLC0415 - may be missing

        return command()
    except ModuleNotFoundError as error:
        if str(error.name).startswith(_OWN_PACKAGES):
            raise
        print(
            f"text-classifier-bulk: error: {error.name} is not installed: pip install 'text-classifier[bulk]'",
            file=sys.stderr,
        )
        return 2


if __name__ == "__main__":
    sys.exit(main())
