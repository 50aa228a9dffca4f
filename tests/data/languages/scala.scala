package library

import scala.collection.mutable

/** A book and who wrote it. */
case class Book(title: String, authors: List[String], year: Int = 0)

trait Catalogue {
  def find(word: String): Seq[Book]
}

class Shelf(books: Seq[Book]) extends Catalogue {
  private val seen = mutable.Map.empty[String, Int]

  override def find(word: String): Seq[Book] = {
    seen(word) = seen.getOrElse(word, 0) + 1
    books.filter(_.title.toLowerCase.contains(word.toLowerCase))
  }

  def byDecade: Map[Int, Seq[Book]] =
    books.groupBy(book => book.year / 10 * 10)

  def describe(book: Book): String = book match {
    case Book(title, Nil, _) => s"$title, nobody's"
    case Book(title, author :: rest, year) if year > 0 =>
      s"$title by $author (${year}) and ${rest.size} others"
    case _ => "?"
  }
}

object Main {
  def main(args: Array[String]): Unit = {
    val shelf = new Shelf(List(Book("Dune", List("Herbert"), 1965)))
    val titles = for {
      book <- shelf.find("dune")
      if book.year > 1900
    } yield book.title
    try {
      titles.foreach(println) // one a line
    } catch {
      case error: RuntimeException => println(error.getMessage)
    } finally {
      println("""done""")
    }
  }
}
