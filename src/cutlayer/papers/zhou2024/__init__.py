"""Zhou et al. 2024: what poisoning does for a prediction API, its claims put to the test.

The paper's tables could not be had; its claims are known from the abstract and the captions, and
each is measured here, beside rivals and controls of equal budget.
"""
