"""common/flags.py: whatever is typed gives sensible settings or one line and status 2."""

import contextlib
import io
import math

from eager_cvae import get_args

from hypothesis import example, given, settings
from hypothesis import strategies as st

NAMES = [
    "--epochs", "--batch-size", "--learning-rate", "--latent-dim", "--dataset", "--data-dir",
    "--output-dir", "--seed", "--plot-every", "--dtype", "--fresh", "--tensorboard", "--beta",
    "--help", "--hel", "",
]  # fmt: skip
VALUES = st.one_of(
    st.integers().map(str),
    st.floats().map(str),
    st.sampled_from(
        ["", " ", "nan", "inf", "1e400", "٣", "1_000", "0x10", "½", "../..", "/dev/null"]
    ),
    st.sampled_from(["digits", "mnist", "fashion_mnist", "float32", "float64"]),
    st.text(max_size=20),
)
PAIRS = st.tuples(st.sampled_from(NAMES), VALUES) | st.tuples(st.sampled_from(NAMES))


def sensible(args):
    assert 1 <= args.epochs <= 10**6
    assert 1 <= args.plot_every <= 10**6
    assert 1 <= args.latent_dim <= 784
    assert 0 <= args.seed < 2**32
    assert 0 < args.learning_rate < math.inf
    assert args.beta is None or 0 <= args.beta < math.inf
    assert args.dataset in (None, "fashion_mnist", "mnist", "digits")
    assert args.dtype in ("float32", "float64")
    assert 1 <= args.batch_size <= (1500 if args.dataset == "digits" else 10_000)
    assert args.output_dir.strip()
    assert args.data_dir is None or args.data_dir.strip()


@settings(max_examples=500, deadline=None)
@given(st.lists(PAIRS, max_size=4))
@example([("--batch-size", "10000"), ("--dataset", "digits")])
@example([("", "a\nb")])
@example([("--dataset", "digits"), ("--data-dir", ".")])
@example([("--plot-every", "1000000"), ("--epochs", "1")])
def test_any_command_line(pairs):
    argv = [part for pair in pairs for part in pair]
    output, error = io.StringIO(), io.StringIO()
    args = status = None
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(error):
        try:
            args = get_args(argv)
        except SystemExit as stop:
            status = stop.code
    if args:
        sensible(args)
    elif status == 0:
        assert "--help" in argv or "-h" in argv
        assert "--epochs" in output.getvalue()
    else:
        assert status == 2
        assert error.getvalue().count("\n") == 1
        assert error.getvalue().startswith("eager_cvae.py: error: ")
