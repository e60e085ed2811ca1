"""Build the open face model unless it is in the cache already: `python -m facenb.open_model`; `make book` does it."""

from facenb.open_model import cache_dir, open_model

model = open_model()
print(f"The open face model is in {cache_dir()}: {model.n_vertices:,} vertices, {len(model.triangles):,} triangles.")
