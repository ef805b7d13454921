"""The command `diffuseit translate` as tests call it."""

from typer.testing import CliRunner

from diffuseit.cli import app


def run(*arguments: object):
    return CliRunner().invoke(app, ["translate", *map(str, arguments)])


def good(*arguments: object):
    """Run it and return what it said. It must end well."""
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result


def refused(*arguments: object) -> str:
    """Return the one line with which it must end, at once."""
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("Error: ") and result.stderr.count("\n") == 1
    return result.stderr
