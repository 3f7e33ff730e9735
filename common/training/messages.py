"""What a run prints when it starts and stops."""

from common.devices.workers import is_alone
from common.objectives.flags import kernel_warning, title
from common.program.startup import again


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
        print(warning, flush=True)


def announce_rest(epoch, args):
    """Print after which epoch a run is resumed, or that nothing is left to train."""
    if epoch >= args.epochs:
        print(
            f"{epoch} epochs are already trained, and --epochs is {args.epochs}.\nTo train more, "
            "use a larger --epochs. To start over, use --fresh."
        )
    elif epoch:
        print(f"Resuming after epoch {epoch}.")


def how_to_resume(epoch, args, data):
    """Return how far a stopped run came, and the command that resumes it."""
    named = args.dataset or args.images
    command = again(*[] if named else ["--dataset", data.name])
    where = "" if is_alone() else ", on all workers"
    return f"Stopped after epoch {epoch} of {args.epochs}. To resume{where}:\n{command}"
