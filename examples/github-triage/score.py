# How much an event wants attention, from 0 to 100, and why.
import re

WORDS = {
    "security": 30, "vulnerability": 30, "crash": 25, "data loss": 30, "regression": 20,
    "broken": 15, "fails": 10, "error": 10, "urgent": 15, "typo": -10, "thanks": -5,
}
ROUTES = {"security": 40, "build": 10, "triage": 15, "review": 15, "community": 0}
PATTERNS = [(word, points, re.compile(r"\b" + word + r"\b", re.I)) for word, points in WORDS.items()]


def main(event: dict):
    score = ROUTES.get(event["route"], 0)
    reasons = [f"route {event['route']}"]
    text = f"{event['title']} {event['text']}"
    for word, points, pattern in PATTERNS:
        if pattern.search(text):
            score += points
            reasons.append(f"says {word!r}")
    if event["conclusion"] in ("failure", "timed_out", "error"):
        score += 25
        reasons.append(f"ended in {event['conclusion']}")
    if any(label.lower() in ("bug", "priority", "p0", "p1") for label in event["labels"]):
        score += 20
        reasons.append("is labelled so")
    if event["size"] > 500:
        score += 10
        reasons.append("is a large change")
    if event["bot"]:
        score -= 15
        reasons.append("comes from a bot")
    return {"points": max(0, min(100, score)), "reasons": reasons}
