"""Every loss against its equation written as loops, and the rules of who is a negative of whom."""

from math import exp, log

import pytest
import torch

from dowse.train.losses import (
    Relations,
    angle_loss,
    info_nce,
    negatives_of,
    order_loss,
    soft_info_nce,
    weighted_contrastive,
)

NAN = float("nan")
SCALE = 20.0


def batch(seed=0, queries=4, documents=6, dimensions=8):
    """Return unit vectors of queries and documents; query i is answered by document i."""
    torch.manual_seed(seed)
    asked, found = torch.randn(queries, dimensions), torch.randn(documents, dimensions)
    answers = torch.eye(queries, documents, dtype=torch.bool)
    normalise = torch.nn.functional.normalize
    return normalise(asked, dim=1), normalise(found, dim=1), answers


def relations(is_positive, query_ids=None, labels=None, is_suspect=None, document_ids=None):
    queries, documents = is_positive.shape
    return Relations(
        query_ids=torch.arange(queries) if query_ids is None else torch.tensor(query_ids),
        document_ids=torch.arange(documents) if document_ids is None else torch.tensor(document_ids),
        text_ids=torch.arange(documents),
        labels=torch.full(is_positive.shape, NAN) if labels is None else torch.tensor(labels),
        is_positive=is_positive,
        is_suspect=torch.zeros_like(is_positive) if is_suspect is None else torch.tensor(is_suspect),
    )


def test_info_nce_equals_its_equation():
    queries, documents, answers = batch()
    answers[0, 4] = True  # a second answer is an anchor of its own, and no negative
    negative = ~answers
    negative[1, 5] = False
    x = (queries @ documents.T * SCALE).tolist()
    losses = []
    for i, p in answers.nonzero().tolist():
        against = sum(exp(x[i][j]) for j in range(6) if negative[i, j])
        losses.append(-log(exp(x[i][p]) / (exp(x[i][p]) + against)))
    found = info_nce(queries @ documents.T, answers, negative, SCALE)
    assert found.item() == pytest.approx(sum(losses) / len(losses), rel=1e-5)


def test_weighted_contrastive_equals_its_equation():
    queries, documents, answers = batch()
    answers[3, 1] = True  # the second query and the last are different questions that document 1 answers both
    known = relations(answers, query_ids=[0, 1, 0, 3], document_ids=[0, 1, 2, 3, 4, 3])
    negatives = negatives_of(known)
    vectors = torch.cat([queries, documents]).tolist()

    def e(i, k):
        return exp(SCALE * sum(a * b for a, b in zip(vectors[i], vectors[k], strict=True)))

    def loss(anchor, partner, negative):
        total = sum(e(anchor, j) for j in negative)
        weighted = sum(e(anchor, k) / total * e(anchor, k) for k in negative)
        return -log(e(anchor, partner) / (e(anchor, partner) + weighted))

    # What answers a query or its copy; document 5 is another version of document 3.
    answered = {0: {0, 2}, 1: {1}, 2: {0, 2}, 3: {1, 3, 5}}
    losses = []
    for i, p in answers.nonzero().tolist():
        against = [j for j in range(4) if not answered[i] & answered[j]]
        against += [4 + j for j in range(6) if j not in answered[i]]
        losses += [loss(i, 4 + p, against), loss(4 + p, i, against)]
    found = weighted_contrastive(queries, documents, answers, negatives, SCALE)
    assert found.item() == pytest.approx(sum(losses) / len(losses), rel=1e-5)


def test_the_weights_of_the_weighted_loss_are_not_detached():
    queries, documents, answers = batch()
    queries.requires_grad_()
    weighted_contrastive(queries, documents, answers, negatives_of(relations(answers)), SCALE).backward()
    step = 1e-3
    moved = queries.detach().clone()
    losses = []
    for sign in (1, -1):
        moved[1, 2] = queries.detach()[1, 2] + sign * step
        known = negatives_of(relations(answers))
        doubles = moved.double(), documents.double()
        losses.append(weighted_contrastive(*doubles, answers, known, SCALE).item())
    assert queries.grad[1, 2].item() == pytest.approx((losses[0] - losses[1]) / (2 * step), rel=1e-2)


def test_a_batch_without_negatives_costs_nothing():
    queries, documents, answers = batch(queries=1, documents=1)
    known = relations(answers)
    queries.requires_grad_()
    contrastive = weighted_contrastive(queries, documents, answers, negatives_of(known), SCALE)
    plain = info_nce(queries @ documents.T, answers, negatives_of(known).documents, SCALE)
    (contrastive + plain).backward()
    assert contrastive.item() == plain.item() == 0
    assert torch.isfinite(queries.grad).all()


def test_a_batch_without_an_answer_costs_nothing():
    queries, documents, answers = batch()
    answers[:] = False
    negatives = negatives_of(relations(answers))
    queries.requires_grad_()
    for loss in (info_nce, soft_info_nce):
        assert loss(queries @ documents.T, answers, negatives.documents, SCALE).item() == 0
    costs = weighted_contrastive(queries, documents, answers, negatives, SCALE)
    costs.backward()
    assert costs.item() == 0 and torch.isfinite(queries.grad).all()


def test_a_suspect_stands_against_a_query_from_neither_side():
    queries, documents, answers = batch(queries=2, documents=2)
    suspect = [[False, True], [True, False]]
    negatives = negatives_of(relations(answers, labels=[[1.0, 0.8], [0.8, 1.0]], is_suspect=suspect))
    assert not negatives.documents.any()
    found = weighted_contrastive(queries, documents, answers, negatives, SCALE)
    # What is left against each query is the other query, and against each document nothing.
    alone = -log(1 / (1 + exp(SCALE * float(queries[0] @ queries[1] - queries[0] @ documents[0]))))
    other = -log(1 / (1 + exp(SCALE * float(queries[0] @ queries[1] - queries[1] @ documents[1]))))
    assert found.item() == pytest.approx((alone + other) / 4, rel=1e-5)


def test_order_loss_equals_its_equation():
    torch.manual_seed(1)
    x, y = torch.rand(7), [0.1, 0.5, 0.5, 0.9, 0.3, 0.0, 1.0]
    total = sum(exp(SCALE * float(x[a] - x[b])) for a in range(7) for b in range(7) if y[a] < y[b])
    assert order_loss(x, torch.tensor(y), SCALE).item() == pytest.approx(log(1 + total), rel=1e-5)
    near = sum(exp(SCALE * float(x[a] - x[b])) for a in range(7) for b in range(7) if y[a] + 0.25 < y[b])
    assert order_loss(x, torch.tensor(y), SCALE, 0.25).item() == pytest.approx(log(1 + near), rel=1e-5)


@pytest.mark.parametrize("margin", [0.0, 0.1])
def test_order_loss_has_the_gradient_of_its_pairs_and_needs_no_room_for_them(margin):
    torch.manual_seed(3)
    x, y = torch.rand(40), torch.rand(40).mul(10).round() / 10  # many equal labels
    pairs, rows = x.clone().double().requires_grad_(), x.clone().requires_grad_()
    differences = SCALE * (pairs[:, None] - pairs[None, :])[y[:, None] + margin < y[None, :]]
    torch.log1p(differences.exp().sum()).backward()
    order_loss(rows, y, SCALE, margin).backward()
    assert torch.allclose(rows.grad.double(), pairs.grad, rtol=1e-4, atol=1e-6)
    many = torch.rand(200_000).requires_grad_()  # whose pairs would take 40 GB as booleans alone
    order_loss(many, torch.rand(200_000), SCALE, margin).backward()
    assert torch.isfinite(many.grad).all()


def test_order_loss_sees_the_order_of_labels_alone():
    torch.manual_seed(2)
    x, y = torch.rand(20), torch.rand(20)
    assert order_loss(x, y, SCALE).item() == pytest.approx(order_loss(x, y**3 * 0.1, SCALE).item())
    assert order_loss(x, torch.full((20,), 0.5), SCALE).item() == 0
    perfect, reversed_ = order_loss(y, y, SCALE), order_loss(-y, y, SCALE)
    assert perfect < reversed_


def test_angle_loss_equals_its_equation():
    queries, documents, _ = batch(queries=4, documents=4)
    y = [0.2, 0.8, 0.5, 0.2]
    angles = []
    for z, w in zip(queries.tolist(), documents.tolist(), strict=True):
        a, b, c, d = z[:4], z[4:], w[:4], w[4:]
        size = sum(n * n for n in w)
        length = (sum(n * n for n in z) / size) ** 0.5
        re = sum(a[n] * c[n] + b[n] * d[n] for n in range(4)) / size
        im = sum(b[n] * c[n] - a[n] * d[n] for n in range(4)) / size
        angles.append(abs(re + im) / length * SCALE)
    total = sum(exp(angles[i] - angles[j]) for i in range(4) for j in range(4) if y[i] < y[j])
    found = angle_loss(queries, documents, torch.tensor(y), SCALE)
    assert found.item() == pytest.approx(log(1 + total), rel=1e-4)


@pytest.mark.parametrize(("alpha", "temperature"), [(1.0, 0.1), (1.4, 0.02)])
def test_soft_info_nce_equals_its_equation(alpha, temperature):
    queries, documents, answers = batch()
    negative = ~answers
    negative[2, 5] = False
    cosines = (queries @ documents.T).tolist()
    beta, losses, unclamped = 1.5, [], []
    for i in range(4):
        against = [j for j in range(6) if negative[i, j]]
        total = sum(exp(cosines[i][j] / temperature) for j in against)
        weighted = 0.0
        for j in against:
            share = exp(cosines[i][j] / temperature) / total
            unclamped.append((beta - alpha * share) / (beta - alpha / len(against)))
            weighted += max(0.1, unclamped[-1]) * exp(SCALE * cosines[i][j])
        own = exp(SCALE * cosines[i][i])
        losses.append(-log(own / (own + weighted)))
    assert (min(unclamped) < 0.1) == (alpha > 1), "the least weight binds in one of the cases"
    found = soft_info_nce(queries @ documents.T, answers, negative, SCALE, alpha, beta, temperature)
    assert found.item() == pytest.approx(sum(losses) / 4, rel=1e-5)


def test_an_answer_to_a_copy_of_the_query_is_no_negative_unless_as_released():
    _, _, answers = batch()
    known = relations(answers, query_ids=[7, 8, 7, 9])
    ours = negatives_of(known)
    assert ours.documents[0].tolist() == [False, True, False, True, True, True]
    assert ours.queries[0].tolist() == [False, True, False, True]
    released = negatives_of(known, mask_repeated_queries=False)
    assert released.documents[0].tolist() == [False, True, True, True, True, True]
    assert released.queries[0].tolist() == [False, True, True, True]


def test_rows_shuffled_singly_with_a_repeated_query_stand_against_all_others_as_released():
    queries, documents, answers = batch(documents=4)
    queries[1], queries[3] = queries[0], queries[2]  # each query with its answer, and with a candidate
    answers[1, 1] = answers[3, 3] = False
    labels = torch.full((4, 4), NAN).fill_diagonal_(0.5).tolist()
    known = relations(answers, query_ids=[0, 0, 1, 1], labels=labels)
    vectors = [row.tolist() for row in (*queries, *documents)]

    def e(i, k):
        return exp(SCALE * sum(a * b for a, b in zip(vectors[i], vectors[k], strict=True)))

    def loss(anchor, partner, negative):
        total = sum(e(anchor, j) for j in negative)
        return -log(e(anchor, partner) / (e(anchor, partner) + sum(e(anchor, k) ** 2 / total for k in negative)))

    pairs = [(0, 4), (4, 0), (2, 6), (6, 2)]
    released = [loss(i, p, [k for k in range(8) if k not in (i, p)]) for i, p in pairs]
    negatives = negatives_of(known, "keep", mask_repeated_queries=False)
    found = weighted_contrastive(queries, documents, answers, negatives, SCALE)
    assert found.item() == pytest.approx(sum(released) / 4, rel=1e-5)
    copies = {0: 1, 2: 3, 4: 1, 6: 3}  # masked: the copy of the anchor's own query
    masked = [loss(i, p, [k for k in range(8) if k not in (i, p, copies[i])]) for i, p in pairs]
    found = weighted_contrastive(queries, documents, answers, negatives_of(known, "keep"), SCALE)
    assert found.item() == pytest.approx(sum(masked) / 4, rel=1e-5)


def test_labelled_negatives_are_kept_or_masked_for_their_own_query_alone():
    _, _, answers = batch()
    labels = [[1.0, NAN, NAN, NAN, 0.6, 0.2]] + [[NAN] * 6] * 3
    suspect = [[False] * 4 + [True, False]] + [[False] * 6] * 3
    known = relations(answers, labels=labels, is_suspect=suspect)
    expected = {"keep": [True, True], "mask_suspects": [False, True], "mask_all": [False, False]}
    for mode, last in expected.items():
        negatives = negatives_of(known, mode).documents
        assert negatives[0].tolist() == [False, True, True, True, *last]
        assert negatives[1].tolist() == [True, False, True, True, True, True]


def test_a_copy_of_an_answer_is_no_negative():
    _, _, answers = batch()
    known = relations(answers, document_ids=[0, 1, 2, 3, 0, 5])
    assert negatives_of(known).documents[0].tolist() == [False, True, True, True, False, True]


@pytest.mark.parametrize("mask_repeated_queries", [True, False])
def test_queries_that_one_function_answers_stand_against_each_other_from_neither_side(mask_repeated_queries):
    _, _, answers = batch()
    known = relations(answers, document_ids=[0, 1, 2, 1, 4, 5])  # the answers to 1 and 3 are versions of one function
    negatives = negatives_of(known, mask_repeated_queries=mask_repeated_queries)
    assert negatives.queries[1].tolist() == negatives.queries[3].tolist() == [True, False, True, False]
    assert negatives.documents[1].tolist() == [True, False, True, False, True, True]
    assert negatives.queries[0].tolist() == [False, True, True, True]
