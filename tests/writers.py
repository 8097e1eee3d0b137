"""What other processes do in the tests of the state file and of the folder: ask, write, and be killed."""

from pathlib import Path

from segtrust.store import StateStore

__all__ = ["ask_for_scans", "note_images", "open_folder", "save_and_write_for_ever"]


def ask_for_scans(path: str, client: str, scans: list[str], times: int, answers: str) -> None:
    """Ask for a scan several times in a row, and write down what came."""
    store = StateStore(Path(path))
    got = [store.lease(scans, client, strategy="entropy") for _ in range(times)]
    Path(answers).write_text("\n".join(scan for scan in got if scan), encoding="utf-8")


def open_folder(folder: str, state: str):
    """The folder as a server has it, with its own connection to the state file."""
    # the processes that only ask for scans need no monai
    from segtrust.label.studies.datastore import SafeDatastore  # noqa: PLC0415

    return SafeDatastore(
        folder,
        structures={"tiny": {"front": 1, "back": 2}},
        store=StateStore(Path(state)),
        on_served=lambda *_: None,
        extensions=["*.nii.gz"],
    )


def note_images(folder: str, state: str, stop: str) -> None:
    """Change the information of every scan in rounds, with snapshots, until the file ``stop`` is there."""
    datastore, number = open_folder(folder, state), 0
    while not Path(stop).exists():
        number += 1
        for scan in datastore.list_images():
            datastore.update_image_info(scan, {"seen": number})
        datastore.write_snapshot()


def save_and_write_for_ever(folder: str, state: str, label: str, begun: str) -> None:
    """Save labels and write snapshots until somebody ends it."""
    datastore = open_folder(folder, state)
    number = 0
    while True:
        for scan in datastore.list_images():
            number += 1
            datastore.save_label(scan, label, "other", {"number": number, "filler": "x" * 20_000})
            datastore.write_snapshot()
            Path(begun).touch()
