"""What a run prints: its start, its progress, its losses, and how to resume it."""

import contextlib
import os
import sys

from common.devices.workers import is_alone, is_chief
from common.objectives.flags import kernel_warning, title
from common.program.startup import again

from tqdm.auto import tqdm

DECIMALS = {"loss_mmd_total": 4}  # decimal places of the MMD in the line that both scripts print


@contextlib.contextmanager
def only_the_chief_prints():
    """Discard what this process prints in the block, unless it is the chief of the workers."""
    if is_chief():
        yield
        return
    print("The first worker prints and writes for all workers.", flush=True)
    with open(os.devnull, "w") as null, contextlib.redirect_stdout(null):
        yield


def announce(args, data, settings, folder):
    """Print what is trained on which data, and the flags that matter."""
    flags = [f"seed {args.seed}", f"latent dimensions {args.latent_dim}"]
    flags.append(f"learning rate {args.learning_rate:g}")
    if args.dtype != "float32":
        flags.append(args.dtype)
    print(f"{title(args)} on {data.title}, {settings['device']}: {', '.join(flags)}")
    for note in data.notes:
        print(f"Data: {note}.")
    passes, batches = settings["epoch"]["passes"], settings["epoch"]["batches"]
    print(
        f"Each epoch: {batches} batches of {args.batch_size}, {passes} pass{'es' * (passes > 1)} "
        f"over {len(data.train_images):,} images. Training up to epoch {args.epochs} in {folder}."
    )
    if warning := kernel_warning(args):
        print(warning)
    sys.stdout.flush()


def announce_rest(epoch, args):
    """Print after which epoch a run is resumed, or that nothing is left to train."""
    if epoch >= args.epochs:
        print(
            f"{epoch} epoch{'s' * (epoch > 1)} already trained, and --epochs is {args.epochs}.\n"
            "To train more, use a larger --epochs. To start over, use --fresh."
        )
    elif epoch:
        print(f"Resuming after epoch {epoch}.")
    sys.stdout.flush()


def progress_bar(epoch, args, settings):
    """Return a progress bar over the batches of all epochs. It is shown only on a terminal."""
    batches = settings["epoch"]["batches"]
    return tqdm(
        total=args.epochs * batches, initial=epoch * batches, unit="batch", leave=False,
        disable=None if is_chief() else True, dynamic_ncols=True,
    )  # fmt: skip


def print_losses(epoch, losses, decimals):
    """Print the original's line of losses, a dict, with `decimals` decimal places."""
    terms = (f"{v:.{DECIMALS.get(name, decimals)}f} {name}" for name, v in losses.items())
    tqdm.write(f"Losses (epoch): {epoch}:  {',  '.join(terms)}")
    sys.stdout.flush()


def how_to_resume(epoch, args, data):
    """Return how far a stopped run came, and the command that resumes it."""
    named = args.dataset or args.images
    command = again(*[] if named else ["--dataset", data.name])
    where = "" if is_alone() else ", on all workers"
    return f"Stopped after epoch {epoch} of {args.epochs}. To resume{where}:\n{command}"
