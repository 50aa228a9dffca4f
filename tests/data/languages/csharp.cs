using System;
using System.Collections.Generic;
using System.Linq;

namespace Library.Books
{
    /// <summary>A shelf of books. 📚</summary>
    public class Shelf
    {
        private readonly List<Book> books = new();

        public record Book(string Title, int Year);

        public int Count => books.Count;

        public void Add(string title, int year)
        {
            if (string.IsNullOrEmpty(title))
            {
                throw new ArgumentException("a book needs a title", nameof(title));
            }
            books.Add(new Book(title, year));
        }

        public IEnumerable<Book> Before(int year)
        {
            return books.Where(book => book.Year < year).OrderBy(book => book.Title);
        }

        public string Describe()
        {
            var names = new List<string>();
            foreach (var book in books)
            {
                names.Add($"{book.Title} ({book.Year})");
            }
            return names.Count == 0 ? "leer 🕳️" : string.Join(", ", names);
        }

        public static void Main(string[] args)
        {
            var shelf = new Shelf();
            try
            {
                shelf.Add("Momo", 1973);
            }
            catch (ArgumentException error)
            {
                Console.Error.WriteLine(error.Message);
            }
            Console.WriteLine(shelf.Describe());
        }
    }
}
