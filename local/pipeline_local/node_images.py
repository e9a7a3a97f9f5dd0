"""Which of this project's images the embedded node can do without."""

from collections.abc import Collection

from pipeline_local.images_builders import removable

USERS = "pods,jobs,cronjobs,deployments,daemonsets,statefulsets"
"""What names images: also Jobs and the like that may make another pod, for there is no registry to pull from again."""


def unwanted(listing: str, keep: Collection[str]) -> list[str]:
    """The names to remove from the node, out of what `ctr images list` prints (name, media type, digest, ...).

    An image has further names, of its digests, for the kubelet: its content goes when the last of them does.
    """
    digests = {fields[0]: fields[2] for line in listing.splitlines()[1:] if len(fields := line.split()) > 2}
    doomed = {digests[name] for name in removable(digests, keep)}
    needed = {digest for name, digest in digests.items() if name.startswith("localhost/")} - doomed
    needed |= {digests[name] for name in keep if name in digests}
    others = [name for name, digest in digests.items() if digest in doomed - needed and name.startswith("sha256:")]
    return sorted([*removable(digests, keep), *others])
