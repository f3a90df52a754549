"""CPU-bound jobs: `@job(cpu=True)`, run by `arq worker.CpuWorkerSettings` in processes of their own.

    route      what such a job is to an LLM worker (moved on) and to a CPU worker (computed)   route.py
    pool       as many processes as cores; each that ends is replaced                          pool.py
    process    one of them, as the worker sees it                                              process.py
    child      one of them, from within: a job at a time, over two pipes                       child.py
    frames     what goes through the pipes                                                     frames.py
    app        what arq is told                                                                app.py

The files are imported by their own names, not from here: a child must not load the whole worker.
"""
