using System.Collections.Generic;
using System.Linq;

public record Line(string Name, decimal Price, int Count);

public class Basket
{
    private readonly List<Line> lines = new();

    public void Add(Line line)
    {
        ⟦lines.Add(line);⟧
    }

    public decimal Total()
    {
        return lines.Sum(line => line.Price * line.Count);
    }
}
