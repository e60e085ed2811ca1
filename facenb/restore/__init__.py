"""The second system, *Learning to Restore 3D Face* (Zhang et al. 2022): a face as a depth map with an albedo, in a view
and under a lamp; the proxy that learns all four from photos alone; and the restoration of degraded photos.

Conventions are those of `facenb.depth_light` (canonical depth, the lamp) and `facenb.rotation` (the view's angles).
"""
