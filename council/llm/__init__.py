"""The model adapter: one small door through which every call of a language model goes.

    from council.llm.client import submit
    call = submit(ChatRequest.of(prompt, endpoint, timeout_s=60), on_text=buffer.append)
    reply = call.result()            # or one error of council.llm.errors

``client`` starts, cancels and answers calls; ``openai_compat`` and ``anthropic`` are the providers; ``errors`` is the
tree of what can go wrong; ``capability`` says how much structure a model can be trusted with. Nothing here knows
Django or the database: endpoints come in as values.
"""
