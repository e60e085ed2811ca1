"""Heads of the plainest kind: the open model's face, a cap of hair, a neck and shoulders."""

from functools import cache

import numpy as np

from facenb.heads import Head, Part
from facenb.open_model import open_model


@cache
def _model():
    m = open_model()
    V = m.n_vertices
    S = np.ascontiguousarray(m.shape_basis.reshape(3 * V, -1).numpy())
    A = np.ascontiguousarray(m.albedo_basis.reshape(3 * V, -1).numpy())
    return m.shape_mean.numpy(), m.albedo_mean.numpy(), S, A, m.triangles.numpy().astype(np.int32)


def random_head(rng: np.random.Generator) -> Head:
    mean, albedo_mean, S, A, T = _model()
    identity = (0.8 * rng.standard_normal(199)).astype(np.float32)
    expression = (0.8 * rng.standard_normal(100)).astype(np.float32)
    if rng.random() < 0.4:
        expression *= 0.3
    albedo = (0.9 * rng.standard_normal(199)).astype(np.float32)
    X = mean + (S @ np.concatenate([identity, expression])).reshape(-1, 3)
    colour = np.clip(albedo_mean + (A @ albedo).reshape(-1, 3), 0.02, 1)
    parts = [Part("face", X, T, colour, np.ones(len(X), np.float32), 0.25, 14.0, None, 0.02)]
    skin = colour[mean[:, 2] > 0].mean(0)
    hair = np.clip(np.array([0.35, 0.25, 0.18]) * rng.uniform(0.15, 1.8) + rng.normal(0, 0.04, 3), 0.02, 0.95)
    width = np.abs(X[:, 0]).max()
    u, v = np.meshgrid(np.linspace(0, 2 * np.pi, 60), np.linspace(0, 1, 40), indexing="ij")

    def surface(p, name, c, **material):
        n, m = u.shape
        i = np.arange(n - 1)[:, None] * m + np.arange(m - 1)
        t = np.concatenate([np.stack([i, i + m, i + 1], -1), np.stack([i + 1, i + m, i + m + 1], -1)]).reshape(-1, 3)
        p = p.reshape(-1, 3).astype(np.float32)
        c = np.broadcast_to(c, p.shape).astype(np.float32)
        parts.append(Part(name, p, t.astype(np.int32), c, np.full(len(p), 0.8, np.float32), **material))

    top, back = X[:, 1].max(), X[:, 2].min()
    neck = [width * (0.72 + 0.9 * np.clip(v - 0.75, 0, 1) * 4) * np.cos(u), X[:, 1].min() + 35 - 150 * v]
    neck.append(back - 5 + width * (0.7 + 0.3 * v) * np.sin(u))
    surface(np.stack(neck, -1), "neck", skin * rng.uniform(0.75, 0.95), specular=0.1)
    shoulder = [(80 + 160 * np.sqrt(v)) * np.cos(u), X[:, 1].min() - 60 - 90 * v**2, back - 10 + 80 * np.sin(u)]
    surface(np.stack(shoulder, -1), "cloth", rng.random(3), texture_noise=0.1)
    if rng.random() < 0.85:  # hair
        line = rng.uniform(45, 95)
        grow = rng.uniform(4, 14)
        polar = v * (np.pi - 0.2)
        wave = rng.uniform(0, 6) * np.sin(rng.integers(3, 9) * u)
        long = rng.random() < 0.5
        h = [(width + grow) * np.sin(polar) * np.cos(u), (top + grow) * np.cos(polar) * (1 if long else 0.7)]
        h.append(back + 15 + (85 + grow) * np.sin(polar) * np.sin(u))
        h = np.stack(h, -1)
        h[..., 1] += 0 if long else 0.3 * (top + grow)
        front = (h[..., 2] > back + 20) & (h[..., 1] < line + wave)
        h[..., 2] = np.where(front, np.minimum(h[..., 2], back + 20), h[..., 2])
        surface(h, "hair", hair, specular=0.15, texture_noise=0.25)
    return Head(parts, 0, identity, expression, albedo, {})
