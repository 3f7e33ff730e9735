"""Print the settings, the progress and the losses of a run, and how to resume the run."""

import contextlib
import os
import sys

from common.devices.workers import is_alone, is_chief
from common.names import numbers_note
from common.objectives.flags import kernel_warning, title
from common.program.flags import as_text, image_sides
from common.program.startup import again
from common.training.settings import ORIGINAL_FILTERS

from tqdm.auto import tqdm


@contextlib.contextmanager
def only_the_chief_prints():
    """Discard the printed output of all workers except the first worker in the `with` block."""
    if is_chief():
        yield
        return
    print("The first worker prints and writes for all workers.", flush=True)
    with open(os.devnull, "w") as null, contextlib.redirect_stdout(null):
        yield


def announce(args, data, settings, folder):
    """Print the model, the data set, the most important flags, and the length of the training."""
    flags = f"seed {args.seed}, latent dimensions {args.latent_dim}"
    flags += f", learning rate {args.learning_rate:g}"
    if args.filters != ORIGINAL_FILTERS:
        flags += f", filters {as_text(args.filters)}"
    if args.dtype != "float32":
        flags += f", {args.dtype}"
    passes, batches = settings["epoch"]["passes"], settings["epoch"]["batches"]
    lines = [f"{title(args)} on {data.title}, {settings['device']}: {flags}"]
    lines += [*(f"Data: {note}." for note in data.notes), numbers_note(data.class_names)]
    lines.append(
        f"Each epoch: {batches} batches of {args.batch_size}, {passes} pass{'es' * (passes > 1)} "
        f"over {len(data.train_images):,} images. Training up to epoch {args.epochs} in {folder}."
    )
    print("\n".join(filter(None, [*lines, kernel_warning(args)])), flush=True)


def suggest_larger_network(args, data):
    """Suggest other flags if the network is the original's, but the images are large or coloured.

    The suggested flags must be valid for the given --image-size.
    """
    height, width, channels = data.image_shape
    original = args.filters == ORIGINAL_FILTERS and args.latent_dim == 2
    simple = max(height, width) <= 32 and channels == 1
    if original and not simple and (not args.image_size or {height, width} <= {*image_sides(3)}):
        print(
            "Advice: For images that are in colour or larger than 32 x 32, use a larger network, "
            "such as --filters 32 64 128 --latent-dim 64.",
            flush=True,
        )


def announce_rest(epoch, args):
    """Print the epoch after which a run is resumed, or that the training is already complete."""
    if epoch >= args.epochs:
        trained = f"{epoch} epoch{'s' * (epoch > 1)} already trained"
        print(f"{trained}, and --epochs is {args.epochs}.")
        print("To train more, use a larger --epochs. To start over, use --fresh.", flush=True)
    elif epoch:
        print(f"Resuming after epoch {epoch}.", flush=True)


def progress_bar(done, total):
    """Return a progress bar for the batches of all epochs. It is shown only on a terminal."""
    options = {"unit": "batch", "leave": False, "dynamic_ncols": True}
    return tqdm(initial=done, total=total, disable=None if is_chief() else True, **options)


def print_losses(epoch, losses, decimals):
    """Print the losses in the original's format, with `decimals` decimal places."""
    places = {"loss_mmd_total": 4}  # in both scripts
    terms = (f"{v:.{places.get(name, decimals)}f} {name}" for name, v in losses.items())
    tqdm.write(f"Losses (epoch): {epoch}:  {',  '.join(terms)}")
    sys.stdout.flush()


def warn_of_export(file, problem):
    """Print why an exported file cannot be written, and that the training continues."""
    advice = "The training continues, and the next export tries to write the file again."
    _warn(f"{file} cannot be written: {problem}. {advice}")


def report_failed_exports(files, args, data):
    """Print which files of a finished run could not be written, and how to write these files."""
    problem = f"The training is complete, but {', '.join(map(str, files))} could not be written."
    _warn(f"{problem} To write the missing files{_on_all_workers()}:\n{_command(args, data)}")


def how_to_resume(epoch, args, data):
    """Return a text with the last epoch of a stopped run and the command that resumes the run."""
    stopped = f"Stopped after epoch {epoch} of {args.epochs}. To resume{_on_all_workers()}:"
    return f"{stopped}\n{_command(args, data)}"


def _warn(text):
    with contextlib.suppress(OSError):  # A closed stderr must not stop the training
        tqdm.write(text, file=sys.stderr)


def _on_all_workers():
    return "" if is_alone() else ", on all workers"


def _command(args, data):
    """Return the command that continues this run with the same data set.

    The command has --dataset, because the default depends on whether Fashion-MNIST is available.
    """
    return again(*[] if args.dataset or args.images else ["--dataset", data.name])
