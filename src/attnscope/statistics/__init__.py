"""Numbers about a head: what they are (definitions), how they are computed (compute), and small pictures (thumbnails)."""
