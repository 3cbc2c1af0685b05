"""`make bench`: how fast the product is, beside reference points that are measured in turn with it, in the same run."""
