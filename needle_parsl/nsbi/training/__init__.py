"""Networks: from a store to trained members."""
