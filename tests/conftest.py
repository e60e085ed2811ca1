"""Fixtures shared by all tests: a small random morphable model, so that no test needs a licence or a download."""

import pytest
import torch
from chromium import ARGUMENTS, chromium_path

from facenb.morphable_model import MorphableModel

torch.set_num_threads(1)  # two spinning threads on a busy machine are slower than one


def random_model(
    rings: int = 7, spokes: int = 24, n_identity: int = 6, n_expression: int = 4, n_albedo: int = 5, seed: int = 0
) -> MorphableModel:
    """A dome-shaped "face" of smooth random variation, float64, with a mouth-like hole in the middle.

    The mesh is an annulus: `rings` circles of `spokes` vertices; ring 0 bounds the hole, the last ring is the outer
    boundary. It has the topology of a real face model with an open mouth (one component, Euler characteristic 0).
    """
    g = torch.Generator().manual_seed(seed)
    r = torch.linspace(0.15, 1.0, rings, dtype=torch.float64)[:, None].expand(rings, spokes)
    angle = (2 * torch.pi * torch.arange(spokes, dtype=torch.float64) / spokes).expand(rings, spokes)
    x, y = 70 * r * torch.cos(angle), 90 * r * torch.sin(angle)
    z = 60 * (1 - r**2)
    X = torch.stack([x, y, z], -1).reshape(-1, 3)  # V 3, mm
    V = X.shape[0]

    triangles = []
    for i in range(rings - 1):
        for j in range(spokes):
            a, b = i * spokes + j, i * spokes + (j + 1) % spokes
            c, d = a + spokes, b + spokes
            triangles += [[a, c, d], [a, d, b]]  # counterclockwise seen from +z

    # low-order polynomials of position vary smoothly, like a face does
    p = X / torch.tensor([70.0, 90.0, 60.0], dtype=torch.float64)
    powers = [(i, j, k) for i in range(4) for j in range(4 - i) for k in range(4 - i - j)]
    monomials = torch.stack([p[:, 0] ** i * p[:, 1] ** j * p[:, 2] ** k for i, j, k in powers], -1)

    def basis(n: int, size: float) -> torch.Tensor:
        mix = torch.randn(monomials.shape[1], 3 * n, generator=g, dtype=torch.float64)
        return size * (monomials @ mix).reshape(V, 3, n) / monomials.shape[1] ** 0.5

    outer = torch.arange((rings - 1) * spokes, rings * spokes)
    middles = {"eyes": p[5], "lips": p[40], "nose": p[90]}
    regions = {name: torch.exp(-((p - q) ** 2).sum(-1) / 0.05) for name, q in middles.items()}
    return MorphableModel(
        shape_mean=X,
        identity_basis=basis(n_identity, 3.0),
        expression_basis=basis(n_expression, 2.0),
        albedo_mean=0.5 + 0.1 * torch.sin(3 * p),
        albedo_basis=basis(n_albedo, 0.04),
        triangles=torch.tensor(triangles),
        landmarks68=torch.randperm(V - len(outer), generator=g)[:68],
        regions=regions,
        name="tiny random model",
    )


@pytest.fixture(scope="session")
def tiny_model() -> MorphableModel:
    return random_model()


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(20)


@pytest.fixture(scope="module")
def browser():
    """Chromium, the same for all tests of a module; Playwright allows one at a time."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=ARGUMENTS)
        yield browser
        browser.close()


def pytest_addoption(parser):
    parser.addoption("--book", help="folder of a rendered book for tests/test_book_pages.py (default: they build one)")


@pytest.fixture(autouse=True)
def the_same_random_numbers_every_time():
    torch.manual_seed(0)
