"""Correlated read noise: what clean_flicker_noise and picture_frame estimate it from, and how."""
