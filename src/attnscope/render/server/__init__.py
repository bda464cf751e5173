"""`attnscope serve`: type a text in the browser, look at it. run.py (the process), app.py (what is answered), guard.py (who is
let in), work.py (the models' turn, and the traces that are kept), limits.py (how much), page.py (the page around the app).

It needs starlette and uvicorn, the extra `serve`.
"""
