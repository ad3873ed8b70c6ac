"""What the stages counted, to be looked at."""

from collections import Counter

from flowhq.bot.ports import Span, Stage


class FakeMeter:
    """``received`` and the like by outcome; ``spans`` in the order in which they were told."""

    def __init__(self) -> None:
        self.received: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()
        self.spans: list[tuple[Span, float]] = []

    def count(self, stage: Stage, outcome: str) -> None:
        places = {
            Stage.RECEIVED: self.received,
            Stage.ANSWERED: self.answered,
            Stage.SENT: self.sent,
        }
        places[stage][outcome] += 1

    def took(self, span: Span, seconds: float) -> None:
        self.spans.append((span, round(seconds, 6)))
