"""Examples of decisions and graders."""

from __future__ import annotations

from typing import Final

from tokenbalance.openai.operation import Examples

DECISION_EXAMPLES: Final = Examples(
    {
        "One question": {
            "model": "gpt-6-luna",
            "input": "The parcel arrived late, and it was damaged.",
            "questions": [{"type": "predicate", "instructions": "The customer is unhappy."}],
        }
    },
    {
        "answers": [{"type": "predicate", "name": None, "probability": 0.98}],
        "model": "gpt-6-luna",
        "usage": {
            "input_tokens": 38,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": 1,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 39,
        },
    },
)
GRADER_EXAMPLES: Final = Examples(
    {
        "One model": {
            "grader": {
                "type": "score_model",
                "name": "friendliness",
                "model": "gpt-5.4-mini",
                "input": [
                    {"role": "user", "content": "How friendly is this? {{sample.output_text}}"}
                ],
                "sampling_params": {"max_completions_tokens": 256},
            },
            "model_sample": "What a lovely day!",
        }
    },
    {
        "reward": 0.9,
        "metadata": {
            "name": "friendliness",
            "type": "score_model",
            "errors": {},
            "execution_time": 0.4,
            "scores": {},
            "token_usage": 131,
            "sampled_model_name": "gpt-5.4-mini",
        },
        "sub_rewards": {},
        "model_grader_token_usage_per_model": {
            "gpt-5.4-mini": {"prompt_tokens": 120, "completion_tokens": 11, "total_tokens": 131}
        },
    },
)
