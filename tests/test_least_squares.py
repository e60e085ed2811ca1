"""The parts that both linear problems share: the solver, the sums over pixels, the coupling of images, a known K."""

from dataclasses import replace

import pytest
import torch
from dense_least_squares import sample_map

from facenb import least_squares
from facenb.coupled_images import couple_images, shared_prior
from facenb.known_calibration import known_calibration
from facenb.least_squares import Basis, NormalEquations, Problem, cholesky_solver, normal_equations, solve_linear
from facenb.uv_model import uv_model


@pytest.fixture(scope="module")
def flat(tiny_model):
    return uv_model(tiny_model, resolution=24)


def positive(n, generator, batch=2):
    A = torch.randn(batch, n, 2 * n, generator=generator, dtype=torch.float64)
    return A @ A.mT


def test_the_solver_inverts_whatever_the_units_are(generator):
    """Unknowns in px, mm and standard deviations: scales from 1e-6 to 1e6 in one system."""
    scale = torch.logspace(-6, 6, 9, dtype=torch.float64)
    H = positive(9, generator) * scale[:, None] * scale
    x = torch.randn(2, 9, generator=generator, dtype=torch.float64) / scale
    solve = cholesky_solver(H, 1e-16)
    assert torch.allclose(solve(torch.einsum("bij,bj->bi", H, x)) * scale, x * scale, rtol=1e-9)
    several = torch.randn(2, 4, 9, generator=generator, dtype=torch.float64)
    assert torch.allclose(solve(several)[:, 2], solve(several[:, 2]))


def test_a_singular_matrix_has_a_finite_solution_that_fits(generator):
    """Rank 3 of 6: H x = r still holds for a right side in its range; zero stays zero."""
    A = torch.randn(1, 6, 3, generator=generator, dtype=torch.float64)
    H, r = A @ A.mT, torch.einsum("bij,bj->bi", A, torch.ones(1, 3, dtype=torch.float64))
    x = cholesky_solver(H, 1e-16)(r)
    assert torch.allclose(torch.einsum("bij,bj->bi", H, x), r, atol=1e-6)
    assert not cholesky_solver(torch.zeros(1, 4, 4, dtype=torch.float64), 1e-16)(torch.zeros(1, 4)).any()


def test_a_matrix_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="overflow"):
        cholesky_solver(torch.full((1, 3, 3), torch.inf, dtype=torch.float64), 1e-16)


def test_chunks_and_blocks_change_nothing(flat, generator, monkeypatch):
    """The sums over pixels equal ΦᵀΩΦ and ΦᵀΩb of the dense rows, whatever the chunk and the block."""
    uv = torch.rand(2, 50, 2, generator=generator, dtype=torch.float64)
    w = torch.rand(2, 50, generator=generator, dtype=torch.float64)
    z = torch.randn(2, 50, 3, 4, generator=generator, dtype=torch.float64)
    prior = torch.rand(2, flat.n_shape, generator=generator, dtype=torch.float64)
    zero = torch.zeros(2, 3, 4, dtype=torch.float64)
    problem = Problem(uv, w, z, zero[..., None].expand(-1, -1, -1, 4), zero, prior)
    X = sample_map(flat.shape, 24, 24, uv)
    rows = torch.cat([torch.einsum("kl,bskc->bsklc", torch.eye(3, dtype=z.dtype), z).flatten(3), -X[..., :-1]], -1)
    rows, right, omega = rows.flatten(1, 2), X[..., -1].flatten(1), w.repeat_interleave(3, 1)
    H = rows.mT @ (omega[..., None] * rows)
    H[:, 12:, 12:] += torch.diag_embed(prior)
    r = torch.einsum("bji,bj->bi", rows, omega * right)
    for chunk, block, project in ((7, 3, False), (7, 3, True), (50, 4, True), (1000, 1000, False)):
        monkeypatch.setattr(least_squares, "CHUNK", chunk)
        monkeypatch.setattr(least_squares, "BLOCK", block)
        equations = normal_equations(Basis(flat.shape, None, 24, 24), replace(problem, project=project))
        assert torch.allclose(equations.H, H, rtol=1e-10) and torch.allclose(equations.r, r, rtol=1e-10)


def test_combining_first_and_sampling_then_is_the_same_as_the_other_way_round(flat, generator):
    """B m + a from a map of three channels equals the sampled basis times m; half precision keeps the mean exact."""
    uv = torch.rand(3, 20, 2, generator=generator, dtype=torch.float64)
    m = torch.randn(3, flat.n_shape, generator=generator, dtype=torch.float64)
    X = sample_map(flat.shape, 24, 24, uv)
    assert torch.allclose(
        Basis(flat.shape, None, 24, 24).points(uv, m), (X[..., :-1] @ m[:, None, :, None])[..., 0] + X[..., -1]
    )
    half = Basis(flat.shape.half(), flat.mean[:, :3], 24, 24)
    assert torch.allclose(half.points(uv, 0 * m), X[..., -1], atol=1e-12)
    rows = half.rows(uv[0].float(), torch.ones(20))
    assert torch.allclose(rows[..., -1].double(), X[0, ..., -1], atol=1e-4)


def test_coupled_images_share_what_they_share(generator):
    """Two persons, three pictures; 2 camera, 2 shared and 1 own unknown each: 3·2 + 3·1 + 2·2 = 13 in all."""
    H, r = positive(5, generator, batch=3), torch.randn(3, 5, generator=generator, dtype=torch.float64)
    large, unknowns = couple_images(NormalEquations(H, r, 0.0), torch.tensor([9, 4, 9]), n_camera=2, n_shared=2)
    assert large.H.shape == (1, 13, 13)
    assert torch.equal(unknowns[0, 2:4], unknowns[2, 2:4]) and not set(unknowns[0].tolist()) & set(unknowns[1].tolist())
    assert sorted(unknowns[:, :2].flatten().tolist()) == list(range(6))  # the cameras come first
    x = torch.randn(13, generator=generator, dtype=torch.float64)
    energy = sum(x[i] @ A @ x[i] - 2 * b @ x[i] for i, A, b in zip(unknowns, H, r, strict=True))
    assert torch.allclose(x @ large.H[0] @ x - 2 * large.r[0] @ x, energy)


def test_a_shared_coefficient_has_its_prior_once():
    prior = shared_prior(torch.tensor([6.0, 6.0, 6.0]), torch.tensor([1, 1, 5]), 3, n_shared=2)
    assert torch.equal(prior, torch.tensor([[3.0, 3.0, 6.0], [3.0, 3.0, 6.0], [6.0, 6.0, 6.0]]))


def test_a_constraint_that_the_free_solution_meets_changes_nothing(generator):
    """If the unconstrained answer is a scaled rotation times K⁻¹ already, the constrained solver returns it."""
    K = torch.tensor([[[800.0, 0.0, 100.0], [0.0, 800.0, 90.0], [0.0, 0.0, 1.0]]], dtype=torch.float64)
    turn = torch.randn(1, 3, 3, generator=generator, dtype=torch.float64)
    P = 0.7 * torch.matrix_exp(turn - turn.mT) @ torch.linalg.inv(K)
    frame = torch.diag(torch.tensor([300.0, 300.0, 1.0, 1.0], dtype=torch.float64))[None]
    theta = torch.cat([P, torch.tensor([[[3.0], [-8.0], [600.0]]], dtype=torch.float64)], -1) @ torch.linalg.inv(frame)
    u = torch.cat([theta.flatten(1), torch.randn(1, 4, generator=generator, dtype=torch.float64)], 1)
    H = positive(16, generator, batch=1)
    equations = NormalEquations(H, torch.einsum("bij,bj->bi", H, u), 1e-16)
    constrained, adjoint = known_calibration(K, frame)(equations)
    assert torch.allclose(solve_linear(equations)[0], u, rtol=1e-7)
    assert torch.allclose(constrained, u, rtol=1e-7)
    v = adjoint(torch.randn(1, 16, generator=generator, dtype=torch.float64))
    assert torch.isfinite(v).all() and v.any()
