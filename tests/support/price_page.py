"""A card of version 2 with everything that one may have, in round numbers, and what uses it."""

from __future__ import annotations

from typing import Final

MODEL: Final = "gpt-6.2-sol"
IMAGE_MODEL: Final = "gpt-image-2"
SVG_MODEL: Final = "svg-1"

PRICE_PAGE: Final = """
version = 2

[[models]]
match = "gpt-6.2-sol*"
input = 2
cached_input = 0.1
cache_write = 2.5
cache_write_12h = 5
audio_input = 20
output = 10
reasoning = 12
audio_output = 40
second_audio = 75
request = 3
long = { above = 272000, input = 2, output = 1.5 }
tier = { flex = 0.5, priority = "5/3", ultrafast = 3 }
window = { "24h" = 0.75 }
batch = 0.5
region = { eu = 1.1, jp = 1.2 }
calls = { web_search = 10000, code_interpreter = 30000, memory = 0 }

[[models]]
match = ["gpt-image-2*", "chatgpt-image-*"]
input = 5
cached_input = 1.25
image_input = 8
cached_image_input = 2
output = 4
image_output = 30
tier = { priority = 100 }

[[models]]
match = "svg-1"
input = 7
output = 9
reasoning = 11
"""
