def may_run(site, rows):
    import os
    return os.environ.get("KERNEL") == "1" and site.mask.packed is None and not site.weights_only
