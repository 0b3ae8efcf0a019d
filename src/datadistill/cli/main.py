"""``datadistill``: the entry point and what every subcommand shares."""

import io
import sys

from cyclopts import App, CycloptsError, Group, Parameter

from datadistill import __version__

app = App(
    name="datadistill",
    help="Dataset distillation: a few synthetic images per class on which a network trains almost as well "
    "as on the full data set.\n\nTo begin: datadistill run (a minute on a laptop). What a command takes: "
    "datadistill COMMAND --help.",
    version=__version__,
    version_flags=["--version"],
    default_parameter=Parameter(show_default=False, negative=()),
    result_action="return_value",
    suppress_keyboard_interrupt=False,  # main() says how to go on
)

_RUN, _STAGE = Group.create_ordered("A whole run"), Group.create_ordered("One stage on a run directory")
_EXCHANGE, _LIST = Group.create_ordered("Exchange"), Group.create_ordered("What there is")
app["--help"].group = app["--version"].group = Group.create_ordered("This program")

for _name, _where, _group, _help in (
    ("run", "runs:run", _RUN, "All stages of a recipe: experts, distillation, evaluation, report; --resume goes on."),
    ("plan", "runs:plan", _RUN, "Memory, disk and time of a recipe, on this machine or, with --gpu, on another."),
    ("experts", "runs:experts", _STAGE, "Train the experts of a run, or find them in the store."),
    ("distill", "runs:distill", _STAGE, "Distil, from the last checkpoint where there is one."),
    ("evaluate", "runs:evaluate", _STAGE, "Judge the synthetic set of a run against its baselines."),
    ("report", "runs:report", _STAGE, "Write the report of a run anew."),
    ("export", "exchange:export", _EXCHANGE, "Write a synthetic set as .npz, .pt or a folder of PNG files."),
    (
        "import",
        "exchange:import_",
        _EXCHANGE,
        "Make a run of a synthetic set made elsewhere, or bring experts into the store.",
    ),
    ("cite", "exchange:cite", _EXCHANGE, "Print the BibTeX entry of a method, or of the one a run used."),
    ("recipes", "lists:list_recipes", _LIST, "The recipes that come with the package: what `run` and `plan` take."),
    ("methods", "lists:methods", _LIST, "The methods, with their papers."),
    ("datasets", "lists:datasets", _LIST, "The data sets and where they are found; or what is in one of your own."),
    ("networks", "lists:networks", _LIST, "The networks."),
):
    app.command(f"datadistill.cli.{_where}", name=_name, group=_group, help=_help)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; errors made on purpose are one line and exit code 2 or 3, never a traceback."""
    from datadistill.core.errors import DatadistillError

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a dash or an ellipsis is no reason to fail in an ASCII terminal
            stream.reconfigure(errors="replace")
    try:
        app(arguments, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        _fail(" ".join(str(error).split()), 2)
    except DatadistillError as error:
        _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        _fail("interrupted; the run goes on with --resume", 130)
    except BrokenPipeError:
        sys.stderr.close()
    except OSError as error:
        _fail(f"{error.filename or 'a file'}: {error.strerror or error}", 2)


def _fail(line: str, code: int) -> None:
    print(f"datadistill: {line}", file=sys.stderr)
    raise SystemExit(code)
