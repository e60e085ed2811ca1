"""The open morphable face model, built on first use from MakeHuman's public-domain files (book: *Morphable models*)."""
