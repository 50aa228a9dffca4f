"""Orders of a small shop. 🛒"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

TAX = {"food": 0.05, "books": 0.0, "other": 0.19}


@dataclass
class Order:
    customer: str
    lines: list[tuple[str, int, float]] = field(default_factory=list)

    def add(self, name: str, count: int, price: float) -> None:
        if count <= 0:
            raise ValueError(f"{count} of {name!r} cannot be ordered")
        self.lines.append((name, count, price))

    def total(self, kind: str = "other") -> float:
        net = sum(count * price for _, count, price in self.lines)
        return round(net * (1 + TAX.get(kind, 0.19)), 2)

    def as_json(self) -> str:
        return json.dumps(
            {
                "customer": self.customer,
                "lines": self.lines,
                "greeting": "Grüße 👋🏽",
            },
            indent=2,
        )


def cheapest(orders: list[Order]) -> Order | None:
    best = None
    for order in orders:
        if best is None or order.total() < best.total():
            best = order
        else:
            continue
    return best


def read(path: str) -> list[Order]:
    with open(path, encoding="utf-8") as file:
        data = json.load(file)
    try:
        return [Order(entry["customer"], entry["lines"]) for entry in data]
    except KeyError as error:
        print(f"no {error} in {path}")
        return []


if __name__ == "__main__":
    print(cheapest(read("orders.json")))
