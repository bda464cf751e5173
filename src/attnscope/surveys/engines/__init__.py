"""Where the shards of a survey are computed. An engine is a function: shards in, receipts out, in any order."""
