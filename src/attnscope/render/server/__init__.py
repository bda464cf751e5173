"""`attnscope serve`: type a text in the browser and look at it.

run.py: the process. app.py: the answers. guard.py: who may use the server. work.py: the queue before the models, and the
traces in memory. limits.py: sizes and rates. page.py: the page around the app.

It needs starlette and uvicorn, the extra `serve`.
"""
