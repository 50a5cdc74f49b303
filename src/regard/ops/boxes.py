"""Boxes of images as pure functions: (..., 4), centre x, centre y, width, height, each a share of the image's side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def corners(boxes: Tensor) -> Tensor:
    """Left, top, right, bottom (..., 4)."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat((centre - half, centre + half), -1)


def overlap(a: Tensor, b: Tensor) -> Tensor:
    """Generalised intersection over union (Rezatofighi et al. 2019) of corners a (N, 1|M, 4) and b (1|N, M, 4):
    1 for the same box, towards -1 the further they are apart. (N, M)."""
    inside = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0).prod(-1)
    around = (torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])).clamp(min=0).prod(-1)
    union = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - inside
    return inside / union - (around - union) / around


def chances(logits: Tensor) -> Tensor:
    """Probabilities of classes, in float32."""
    return logits.float().softmax(-1)


def matching_costs(logits: Tensor, boxes: Tensor, labels: Tensor, targets: Tensor, weights: Sequence[float]) -> Tensor:
    """(Q, N): what it costs to match each of Q guesses, logits (Q, V) and boxes (Q, 4), with each of N objects, labels
    (N,) and targets (N, 4) (Carion et al. 2020, section 3.1). weights: of class, distance and overlap."""
    apart = (boxes.float().unsqueeze(1) - targets).abs().sum(-1)
    over = overlap(corners(boxes.float()).unsqueeze(1), corners(targets).unsqueeze(0))
    of_class, of_distance, of_overlap = weights
    return of_distance * apart - of_class * chances(logits)[:, labels] - of_overlap * over


def cheapest_matching(costs: Tensor) -> tuple[Tensor, Tensor]:
    """(rows, columns), int64, as many as the shorter side, each used once: the pairs of least total cost (Kuhn 1955,
    by shortest augmenting paths as in Jonker and Volgenant 1987). costs (Q, N); what is not finite counts as the
    dearest. Rows ascend."""
    table = costs.detach().double().cpu().numpy()
    if 0 in table.shape:
        return torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64)
    known = table[np.isfinite(table)]
    least, most = (known.min(), known.max()) if len(known) else (0.0, 0.0)
    # Dearer than any exchange of others, and no larger: prices are differences, and must keep their digits.
    table = np.where(np.isfinite(table), table, most + (most - least + 1) * min(table.shape))
    turned = table.shape[0] > table.shape[1]
    columns = _assigned(table.T if turned else table)
    pairs = np.stack((np.arange(len(columns)), columns))
    pairs = pairs[::-1] if turned else pairs
    pairs = pairs[:, np.argsort(pairs[0])]
    return torch.from_numpy(pairs[0].copy()), torch.from_numpy(pairs[1].copy())


def _assigned(costs: np.ndarray) -> np.ndarray:
    """The column of each row; no more rows than columns."""
    rows, columns = costs.shape
    row_price, column_price = np.zeros(rows), np.zeros(columns)
    owner = np.full(columns, -1)  # the row that a column is given to
    for row in range(rows):
        before, cost = np.full(columns, -1), np.full(columns, np.inf)  # the path to each column, and its cost
        reached = np.zeros(columns, bool)
        at, column, least = row, -1, 0.0
        while at >= 0:  # until a column that is nobody's
            reduced = least + costs[at] - row_price[at] - column_price
            shorter = ~reached & (reduced < cost)
            cost[shorter], before[shorter] = reduced[shorter], at
            column = int(np.where(reached, np.inf, cost).argmin())
            least, at = cost[column], owner[column]
            reached[column] = True
        row_price[row] += least
        inner = reached & (owner >= 0)
        row_price[owner[inner]] += least - cost[inner]
        column_price[reached] -= least - cost[reached]
        while column >= 0:  # hand the columns of the path on
            at = int(before[column])
            owner[column], column = at, _column_of(owner, at, column, row)
    found = np.full(rows, -1)
    found[owner[owner >= 0]] = np.nonzero(owner >= 0)[0]
    return found


def _column_of(owner: np.ndarray, row: int, but: int, first: int) -> int:
    """The column that ``row`` had before it was given ``but``; -1 for the row that had none."""
    return -1 if row == first else next(int(i) for i in np.nonzero(owner == row)[0] if i != but)
