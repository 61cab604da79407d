"""Interleaved reference reads of NIRSpec: what refpix_irs2 makes of them."""
