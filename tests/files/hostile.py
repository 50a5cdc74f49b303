"""Files made to run code or to leave their place, and the canary that shows whether one did."""

from __future__ import annotations

import io
import os
import pickle
import tarfile
import zipfile
from pathlib import Path


class Payload:
    """Pickled, it is the creation of a file."""

    def __init__(self, canary: Path) -> None:
        self.canary = str(canary)

    def __reduce__(self) -> tuple:
        return os.mkdir, (self.canary,)


def payloads(canary: Path) -> dict[str, bytes]:
    """File name to content: each creates the canary when it is unpickled."""
    import numpy as np

    bomb = Payload(canary)
    plain = {f"p{protocol}.pkl": pickle.dumps(bomb, protocol) for protocol in (0, 2, 4, 5)}
    arrays, many = io.BytesIO(), io.BytesIO()
    np.save(arrays, np.array([bomb], dtype=object), allow_pickle=True)
    np.savez(many, weight=np.array([bomb], dtype=object))
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as file:  # as torch.save writes it
        file.writestr("archive/data.pkl", pickle.dumps(bomb, 2))
        file.writestr("archive/version", "3\n")
        file.writestr("archive/byteorder", "little")
    tarred = io.BytesIO()
    with tarfile.open(fileobj=tarred, mode="w") as file:  # as it wrote it at first
        info = tarfile.TarInfo("pickle")
        info.size = len(pickle.dumps(bomb, 2))
        file.addfile(info, io.BytesIO(pickle.dumps(bomb, 2)))
    return {
        **plain,
        "pytorch_model.bin": zipped.getvalue(),
        "model.pt": zipped.getvalue(),
        "model.pth": tarred.getvalue(),
        "model.ckpt": pickle.dumps({"state_dict": bomb}, 2),
        "model.joblib": pickle.dumps(bomb, 4),
        "training_args.bin": zipped.getvalue(),
        "weights.npy": arrays.getvalue(),
        "weights.npz": many.getvalue(),
    }
