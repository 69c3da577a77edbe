"""What a server has before a load: experiments with a run each, and prompts. A user of the measurements has rights on them."""

EXPERIMENTS = [f"bench-{number:03d}" for number in range(100)]
PROMPTS = [f"bench-prompt-{number:02d}" for number in range(10)]
