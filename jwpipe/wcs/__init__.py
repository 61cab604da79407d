"""From pixels to the sky: reference transforms to gwcs, FITS keywords, exact maps of tiles."""
