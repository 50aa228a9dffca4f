package shop.stock;

import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/** What is on the shelves. 📦 */
public class Stock {
    private final List<Item> items = new ArrayList<>();
    private static final int LIMIT = 100;

    public enum Kind { FOOD, BOOK, OTHER }

    public record Item(String name, Kind kind, int count) {}

    public void add(String name, Kind kind, int count) {
        if (count < 0 || items.size() >= LIMIT) {
            throw new IllegalArgumentException("cannot add " + count + " of " + name);
        }
        items.add(new Item(name, kind, count));
    }

    public Optional<Item> find(String name) {
        for (Item item : items) {
            if (item.name().equals(name)) {
                return Optional.of(item);
            }
        }
        return Optional.empty();
    }

    public int total() {
        return items.stream().mapToInt(Item::count).sum();
    }

    @Override
    public String toString() {
        StringBuilder out = new StringBuilder("Vorrat für 🏪: ");
        for (int i = 0; i < items.size(); i++) {
            out.append(items.get(i).name()).append(i + 1 < items.size() ? ", " : ".");
        }
        return out.toString();
    }

    public static void main(String[] args) {
        Stock stock = new Stock();
        try {
            stock.add("apple", Kind.FOOD, 3);
        } catch (IllegalArgumentException e) {
            System.err.println(e.getMessage());
        }
        System.out.println(stock);
    }
}
