"""Build the head around the face unless it is in the cache already: `python -m facenb.heads`; `make book` does it."""

from facenb.heads import head_model
from facenb.open_model import cache_dir

model = head_model()
print(f"The head around it is in {cache_dir()}, too: {len(model.face_triangles):,} of its triangles are the face.")
