"""Electromagnetic interference of MIRI: what emicorr fits and takes out."""
