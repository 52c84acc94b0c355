from __future__ import annotations

import numpy as np

from common.coding.rangecoder import TOTAL
from common.coding.tables import Family
from tests.common.latents import drawn, model


def test_cumulative_tables_span_all_frequencies() -> None:
    tables = Family(model(5).to_arrays(), "").tables(0, 77)
    for table in (tables.counts, tables.values):
        assert (table[..., 0] == 0).all()
        assert (table[..., -1] == TOTAL).all()
        assert (np.diff(table, axis=-1) > 0).all()


def test_lists_hold_what_the_arrays_hold() -> None:
    tables = Family(drawn(7).to_arrays(), "inter_").tables(1, 200)
    lists = tables.lists
    for name in ("counts", "zeros", "values", "pressure"):
        np.testing.assert_array_equal(getattr(lists, name), getattr(tables, name))
    assert lists.ahead == [int(tables.expect[c:, 0].sum()) for c in range(7)]
    np.testing.assert_array_equal(np.add(lists.surplus, tables.expect[:, :1]), tables.expect)


def test_a_band_is_prepared_once_and_a_strange_profile_reads_the_first() -> None:
    family = Family(drawn(3).to_arrays(), "")
    assert family.tables(0, 64) is family.tables(0, 95) is family.tables(15, 64)
    assert family.tables(0, 64) is not family.tables(0, 96)
    assert family.tables(1, 64) is not family.tables(0, 64)


def test_rows_and_latents_are_one_in_two_orders() -> None:
    family = Family(drawn(6).to_arrays(), "inter_")
    y = np.arange(6 * 2 * 3).reshape(6, 2, 3)
    rows = family.rows(y)
    assert rows.dtype == np.int16
    np.testing.assert_array_equal(rows[1, 2], y[family.order, 1, 2])
    np.testing.assert_array_equal(family.latent(rows), y)
