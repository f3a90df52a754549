"""`promptmill run`: a file of prompts in, a file of answers out, resumable at any point.

with open_plan(options, settings) as plan:      every line checked, nothing sent
    summary = await run(plan, queue, progress=…, stop=StopSignal())
"""
