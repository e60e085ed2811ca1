"""The linear least-squares layer that geometry and photometry share (book: *Two linear problems*).

Both problems of Koizumi & Smith 2020 have one form. A texel-major table T holds, for every point of UV space, a
3-vector basis X (3, K) and a mean x; each sampled pixel j says where it is in UV space and brings a short design row
z_jk for each of the three coordinates (or colour channels) k. The layer minimises

    Σ_j w_j Σ_k (z_jk·θ_k − X_jk m − x_jk)²
        + Σ_k (θ_kᵀ Γ_k θ_k − 2 γ_k·θ_k) + Σ_i α_i m_i²

over θ (3, C) and m (K). Geometry: z_jk = (d x, d y, d, 1) for all k, θ_k = (p_k, q_k), m the shape. Photometry: z_jk =
i_jk F_j, θ_k = the nine light coefficients of channel k, m the albedo.

Three ideas make it fast. Structure: the zeros of (33) are never stored. Accumulation: only the normal equations survive
a chunk of pixels. Implicit differentiation: the gradient needs no stored samples, only two maps of three channels.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import embedding_bag

from facenb.uv_model import HALF, bilinear

CHUNK = 1250  # pixels: a chunk of samples stays in the cache, and the peak memory stays small
BLOCK = 64  # columns of the Gram matrix made at a time: narrower wastes the matrix multiplication, wider the symmetry


@dataclass(frozen=True)
class Basis:
    """A linear model as a map over UV space: the table T, each texel laid out (3, K+1), the mean last.

    `mean` repeats the means in full precision where the table is half precision, which would round them to 0.06 mm.
    """

    table: Float[Tensor, "HW 3*(K+1)"]
    mean: Float[Tensor, "HW 3"] | None
    height: int
    width: int

    @property
    def n_columns(self) -> int:
        return self.table.shape[1] // 3  # K + 1

    def rows(self, uv: Float[Tensor, "s 2"], scale: Float[Tensor, " s"]) -> Float[Tensor, "s 3 K+1"]:
        """scale · [X, x] at uv."""
        index, weight = bilinear(uv, self.height, self.width)
        weight = weight * scale[:, None]
        X = embedding_bag(index, self.table, per_sample_weights=weight.to(self.table.dtype), mode="sum")
        X = X.to(uv.dtype).reshape(-1, 3, self.n_columns)
        if self.mean is not None:
            X[..., -1] = embedding_bag(index, self.mean.to(uv.dtype), per_sample_weights=weight, mode="sum")
        return X

    def combine(
        self, uv: Float[Tensor, "B S 2"], coefficients: Float[Tensor, "B A K"], means: Float[Tensor, " A"]
    ) -> Float[Tensor, "B S A 3"]:
        """X coefficients + means · x at uv. Combined first, sampled then: A maps of three channels, not 3(K+1)."""
        B, A, K = coefficients.shape
        last = means if self.mean is None else 0 * means
        flat = torch.cat([coefficients, last.expand(B, A)[..., None]], dim=-1).reshape(B * A, K + 1).T
        index, weight = bilinear(uv, self.height, self.width)  # B S 4
        low, high = int(index.min()), int(index.max()) + 1  # a face seldom fills the square
        size = high - low if self.table.dtype == flat.dtype else 16384  # convert half precision block by block
        blocks = [block.to(flat.dtype).reshape(-1, K + 1) @ flat for block in self.table[low:high].split(size)]
        maps = blocks[0] if len(blocks) == 1 else torch.cat(blocks)  # HW·3 B·A
        image = torch.arange(B, device=uv.device)[:, None, None]
        values = torch.einsum("bst,bstka->bsak", weight, maps.reshape(-1, 3, B, A)[index - low, :, image])
        if self.mean is not None:
            x = torch.einsum("bst,bstk->bsk", weight, self.mean.to(flat.dtype)[index])
            values = values + means[:, None] * x[:, :, None]
        return values

    def points(self, uv: Float[Tensor, "B S 2"], coefficients: Float[Tensor, "B K"]) -> Float[Tensor, "B S 3"]:
        """X m + x at uv: what the model says there. Differentiable in uv and the coefficients."""
        return self.combine(uv, coefficients[:, None], coefficients.new_ones(1))[:, :, 0]


def basis_of(table: Tensor, mean: Tensor, height: int, width: int) -> Basis:
    """A `Basis` that uses the separate means where it has to."""
    return Basis(table, mean if table.dtype in HALF else None, height, width)


@dataclass(frozen=True)
class Problem:
    """Everything that defines the least squares of a batch but the map: see the formula at the top of this module."""

    uv: Float[Tensor, "B S 2"]
    weight: Float[Tensor, "B S"]
    z: Float[Tensor, "B S 3 C"]
    penalty: Float[Tensor, "B 3 C C"]  # Γ
    pull: Float[Tensor, "B 3 C"]  # γ
    prior: Float[Tensor, "B K"]  # α
    project: bool = False  # take out of X what z explains before summing in float32, see `normal_equations`


@dataclass(frozen=True)
class NormalEquations:
    """H u = r for the unknowns u = [θ_1; θ_2; θ_3; m] of every image, n = 3C + K of them, in float64."""

    H: Float[Tensor, "B n n"]
    r: Float[Tensor, "B n"]
    precision: float  # relative rounding error of H, where its columns nearly cancel


# u solves the normal equations; adjoint(g) = v says how u answers to a small push of r along g (the layer's backward
# pass)
Adjoint = Callable[[Float[Tensor, "B n"]], Float[Tensor, "B n"]]
Solver = Callable[[NormalEquations], tuple[Float[Tensor, "B n"], Adjoint]]


def least_squares(
    basis: Basis, problem: Problem, solver: Solver
) -> tuple[Float[Tensor, "B 3 C"], Float[Tensor, "B K"]]:
    """θ and m of every image, differentiable (once) in every tensor of `problem`; the basis is a constant.

    `solver` is `solve_linear`, or one that adds a constraint or couples images.
    """
    tensors = (problem.uv, problem.weight, problem.z, problem.penalty, problem.pull, problem.prior)
    return _LeastSquares.apply(*tensors, problem.project, basis, solver)


class _LeastSquares(torch.autograd.Function):
    @staticmethod
    def forward(ctx, uv, weight, z, penalty, pull, prior, project, basis, solver):
        problem = Problem(uv, weight, z, penalty, pull, prior, project)
        u, adjoint = solver(normal_equations(basis, problem))
        C3 = 3 * z.shape[-1]
        theta, m = u[:, :C3].reshape(pull.shape).to(uv.dtype), u[:, C3:].to(uv.dtype)
        ctx.save_for_backward(uv, weight, z, penalty, pull, prior, theta, m)
        ctx.basis, ctx.adjoint = basis, adjoint
        return theta, m

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_theta, grad_m):
        *inputs, theta, m = ctx.saved_tensors
        v = ctx.adjoint(torch.cat([grad_theta.flatten(1), grad_m], dim=1).double())
        v_theta, v_m = v[:, : -m.shape[1]].reshape(theta.shape).to(theta), v[:, -m.shape[1] :].to(m)
        needs = ctx.needs_input_grad[:6]
        with torch.enable_grad():
            inputs = [x.detach().requires_grad_(need) for x, need in zip(inputs, needs, strict=True)]
            wanted = [x for x in inputs if x.requires_grad]
            psi = implicit_potential(ctx.basis, Problem(*inputs), theta, m, v_theta, v_m)
            gradients = iter(torch.autograd.grad(psi, wanted))
        return *(next(gradients) if need else None for need in needs), None, None, None


def implicit_potential(
    basis: Basis,
    problem: Problem,
    theta: Float[Tensor, "B 3 C"],
    m: Float[Tensor, "B K"],
    v_theta: Float[Tensor, "B 3 C"],
    v_m: Float[Tensor, "B K"],
) -> Float[Tensor, ""]:
    """ψ = vᵀ(r − H u), with u = [θ; m] and v held fixed.

    Its gradient in the data is the layer's: from H u = r follows
    du = H⁻¹(dr − dH u); with v = H⁻¹g a loss with gradient g changes by
    gᵀdu = vᵀ(dr − dH u) = dψ. Pixel by pixel ψ = −Σ w y·e, where e is the
    residual of u and y the same expression with v in its place and no mean.
    """
    both, mean = torch.stack([m, v_m], 1), m.new_tensor([1.0, 0.0])
    S_e, S_y = basis.combine(problem.uv, both, mean).unbind(2)  # X m + x, X v
    e = torch.einsum("bskc,bkc->bsk", problem.z, theta) - S_e
    y = torch.einsum("bskc,bkc->bsk", problem.z, v_theta) - S_y
    data = -(problem.weight[..., None] * y * e).sum()
    held = torch.einsum("bkc,bkcd,bkd->", v_theta, problem.penalty, theta)
    camera = (problem.pull * v_theta).sum() - held
    return data + camera - (problem.prior * v_m * m).sum()


def normal_equations(basis: Basis, problem: Problem) -> NormalEquations:
    """Sum the normal equations by chunks: (35) and (41) before the inverse.

    A smooth basis is nearly a combination of the design rows: a wider face,
    seen closer, is a camera change. Products of such columns cancel later,
    and float32 would not survive it. So with `problem.project` what Z
    explains of X is taken out of each chunk, X' = X − Z W with any good W,
    and put back into the sums in float64.
    """
    B, S, _, C = problem.z.shape
    K1 = basis.n_columns
    double = {"dtype": torch.float64, "device": problem.z.device}
    shapes = ((3, C, C), (3, C, K1), (K1, K1))
    zz, zx, xx = (torch.zeros(B, *shape, **double) for shape in shapes)
    with torch.no_grad():
        root = problem.weight.sqrt()
        for b in range(B):
            texel = bilinear(problem.uv[b], basis.height, basis.width)[0][:, 0]
            order = texel.argsort()  # neighbours share cache lines
            chunks, W = -(-S // CHUNK), None
            for i in range(chunks):  # each chunk is spread over the whole face
                part = order[i::chunks]
                uv = problem.uv[b].index_select(0, part)
                z = problem.z[b].index_select(0, part)
                scale = root[b].index_select(0, part)
                Z = (z * scale[:, None, None]).transpose(0, 1)  # 3 s C
                X = basis.rows(uv, scale).transpose(0, 1)  # 3 s K1
                ZZ = Z.mT.double() @ Z.double()
                if W is None and problem.project:
                    largest = ZZ.diagonal(dim1=1, dim2=2).amax().clamp_min(1e-30)
                    ridge = 1e-6 * largest * torch.eye(C, **double)
                    W = torch.linalg.solve(ZZ + ridge, (Z.mT @ X).double())
                    W = W.to(X.dtype)  # 3 C K1
                if W is not None:
                    X.baddbmm_(Z, W, alpha=-1)
                zz[b] += ZZ
                zx[b] += Z.mT @ X
                _add_gram(xx[b], X.transpose(0, 1).reshape(-1, K1))
            if W is not None:
                W = W.double()
                cross = (W.mT @ zx[b]).sum(0)
                xx[b] += cross + cross.mT + (W.mT @ zz[b] @ W).sum(0)
                zx[b] += zz[b] @ W
    H, r = _assemble(zz + problem.penalty, zx, xx, problem)
    precision = torch.finfo(problem.uv.dtype).eps * (1e-3 if problem.project else 1)
    return NormalEquations(H, r, max(precision, 1e-15))


def _add_gram(total: Float[Tensor, "K1 K1"], X: Float[Tensor, "s3 K1"]) -> None:
    """Add XᵀX to the upper block triangle of `total`: the other half is its mirror image."""
    for i in range(0, X.shape[1], BLOCK):
        total[i : i + BLOCK, i:] += X[:, i : i + BLOCK].T @ X[:, i:]


def _assemble(zz: Tensor, zx: Tensor, xx: Tensor, problem: Problem) -> tuple[Tensor, Tensor]:
    """Put the blocks in their places: three small ones on the diagonal, the bases' Gram, and −Zᵀ X between them."""
    B, _, C, K1 = zx.shape
    K, C3 = K1 - 1, 3 * C
    upper = xx.triu()
    xx = upper + upper.mT - torch.diag_embed(upper.diagonal(dim1=1, dim2=2))
    H = zz.new_zeros(B, C3 + K, C3 + K)
    for k in range(3):
        H[:, k * C : (k + 1) * C, k * C : (k + 1) * C] = zz[:, k]
    H[:, :C3, C3:] = -zx[..., :K].reshape(B, C3, K)
    H[:, C3:, :C3] = H[:, :C3, C3:].mT
    H[:, C3:, C3:] = xx[:, :K, :K] + torch.diag_embed(problem.prior.double())
    r = torch.cat([(zx[..., K] + problem.pull).reshape(B, C3), -xx[:, :K, K]], dim=1)
    return H, r


def cholesky_solver(H: Float[Tensor, "B n n"], precision: float) -> Callable[[Tensor], Tensor]:
    """r ↦ H⁻¹ r for a symmetric positive matrix, made once and used for the solution and again for its gradient.

    The right side is (B, n), or (B, c, n) for c of them.

    Unknowns of different units (px, mm, standard deviations) are brought to one scale first (Jacobi), and a ridge of
    the size of the rounding errors keeps undetermined unknowns at zero. Where that is not enough for a Cholesky
    factor the ridge grows a hundredfold at a time, so that any positive semidefinite H has a finite answer.

    Raises ValueError if H is not finite: its samples overflowed.
    """
    if not torch.isfinite(H).all():
        raise ValueError("the normal equations overflow: bring depth, pixels and weights to moderate numbers")
    eye = torch.eye(H.shape[-1], dtype=H.dtype, device=H.device)
    scale = H.diagonal(dim1=-2, dim2=-1).clamp_min(1e-30).rsqrt()
    scaled = H * scale[:, :, None] * scale[:, None, :]
    ridge = torch.full(H.shape[:1], precision, dtype=H.dtype, device=H.device)
    while True:
        factor, failed = torch.linalg.cholesky_ex(scaled + ridge[:, None, None] * eye)
        if not failed.any():
            break
        ridge = torch.where(failed > 0, 100 * ridge, ridge)

    def solve(r: Tensor) -> Tensor:
        rows = r.reshape(len(H), -1, H.shape[-1]) * scale[:, None]  # B c n
        return (torch.cholesky_solve(rows.mT, factor).mT * scale[:, None]).reshape(r.shape)

    return solve


def solve_linear(equations: NormalEquations) -> tuple[Float[Tensor, "B n"], Adjoint]:
    """The solver of the plain problem: every image by itself, H is symmetric, so the adjoint is the same solve."""
    solve = cholesky_solver(equations.H, equations.precision)
    return solve(equations.r), solve


def check_samples(**tensors: Tensor) -> None:
    """Raise ValueError, naming the input, where a sampled quantity is NaN or infinite; weights must not be negative."""
    for name, x in tensors.items():
        if not torch.isfinite(x).all():
            raise ValueError(f"{name} has NaN or infinite entries: mask such pixels out before sampling")
        if name == "weight" and (x < 0).any():
            raise ValueError(f"weight reaches {x.min():.3g}: a least-squares weight cannot be negative")
