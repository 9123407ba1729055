from hypothesis import given
from hypothesis import strategies as st

from molgen.generation.plan import plan_batches

SIZES = st.lists(st.integers(1, 30), max_size=200)
BATCH = st.integers(1, 64)
BUDGET = st.integers(0, 3000)


@given(sizes=SIZES, batch_size=BATCH, budget=BUDGET)
def test_every_molecule_is_in_one_batch_with_its_size(sizes, batch_size, budget):
    batches = plan_batches(sizes, batch_size=batch_size, edge_budget=budget)
    assert sorted(index for batch in batches for index in batch.indices) == list(range(len(sizes)))
    assert all(sizes[i] == n for batch in batches for i, n in zip(batch.indices, batch.n_atoms, strict=True))


@given(sizes=SIZES, batch_size=BATCH, budget=BUDGET)
def test_no_batch_exceeds_the_batch_size_or_the_edge_budget(sizes, batch_size, budget):
    for batch in plan_batches(sizes, batch_size=batch_size, edge_budget=budget):
        assert 1 <= len(batch.indices) <= batch_size
        assert len(batch.indices) == 1 or sum(n * (n - 1) for n in batch.n_atoms) <= budget


@given(sizes=SIZES, batch_size=BATCH, budget=BUDGET)
def test_batches_come_in_the_order_of_their_first_molecule(sizes, batch_size, budget):
    batches = plan_batches(sizes, batch_size=batch_size, edge_budget=budget)
    first = [min(batch.indices) for batch in batches]
    assert first == sorted(first)


def test_molecules_of_one_size_fill_dense_batches():
    batches = plan_batches([18, 17] * 100, batch_size=50)
    assert len(batches) == 4
    assert all(len(set(batch.n_atoms)) == 1 and len(batch.indices) == 50 for batch in batches)


def test_a_few_molecules_of_many_sizes_share_one_batch():
    batches = plan_batches(range(9, 25), batch_size=128)
    assert len(batches) == 1
