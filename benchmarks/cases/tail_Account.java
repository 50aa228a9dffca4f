import java.util.ArrayList;
import java.util.List;

public class Account {
    private final String owner;
    private final List<Long> movements = new ArrayList<>();

    public Account(String owner) {
        this.owner = owner;
    }

    public void deposit(long cents) {
        if (cents <= 0) {
            throw new IllegalArgumentException("deposit must be positive: " + cents);
        }
        movements.add(cents);
    }

    public long balance() {
        long sum = 0;
        for (long movement : movements) {
            sum += ⟦movement;⟧
        }
        return sum;
    }
}
