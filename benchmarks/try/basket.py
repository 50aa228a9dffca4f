"""A shopping basket: the file that `make try` infills. The hole is on line 21, after `len(`."""

from dataclasses import dataclass


@dataclass
class Item:
    name: str
    price: float
    count: int = 1


class Basket:
    def __init__(self) -> None:
        self.items: list[Item] = []

    def add(self, item: Item) -> None:
        self.items.append(item)

    def is_empty(self) -> bool:
        return len() == 0

    def total(self) -> float:
        result = 0.0
        for item in self.items:
            result += item.price * item.count
        return result
