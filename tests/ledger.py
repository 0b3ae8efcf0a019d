"""The bytes that autograd keeps."""

import weakref
from collections import Counter


class Ledger:
    """Counts the bytes that autograd keeps, now and at most; a storage that is kept twice counts once."""

    def __init__(self):
        self.now = self.most = 0
        self.holders = Counter()

    def pack(self, tensor):
        storage = tensor.untyped_storage()
        place, size = storage.data_ptr(), storage.nbytes()
        self.now += size * (not self.holders[place])
        self.holders[place] += 1
        self.most = max(self.most, self.now)
        kept = _Kept(tensor)
        weakref.finalize(kept, self.release, place, size)
        return kept

    def release(self, place, size):
        self.holders[place] -= 1
        self.now -= size * (not self.holders[place])


class _Kept:
    def __init__(self, tensor):
        self.tensor = tensor.detach()  # a saved output would otherwise keep the graph that keeps it
