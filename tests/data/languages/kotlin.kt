package inventory

import java.time.LocalDate

/** What a shelf holds. */
sealed interface Item {
    val name: String
}

data class Food(override val name: String, val bestBefore: LocalDate?) : Item

data class Tool(override val name: String, val weight: Double = 0.0) : Item

class Shelf(private val items: MutableList<Item> = mutableListOf()) {
    val size: Int
        get() = items.size

    operator fun plusAssign(item: Item) {
        items.add(item)
    }

    fun heaviest(): Tool? = items.filterIsInstance<Tool>().maxByOrNull { it.weight }

    fun expired(today: LocalDate): List<Food> {
        val found = mutableListOf<Food>()
        for (item in items) {
            when (item) {
                is Food -> if (item.bestBefore?.isBefore(today) == true) {
                    found.add(item)
                }
                else -> continue
            }
        }
        return found
    }

    fun describe(): String {
        val lines = items.joinToString("\n") { item -> "- ${item.name}" }
        return """
            |Shelf of $size:
            |$lines
        """.trimMargin()
    }
}

fun main() {
    val shelf = Shelf()
    shelf += Food("bread", LocalDate.of(2024, 1, 2))
    shelf += Tool("hammer", 1.5)
    try {
        println(shelf.describe()) // what is there
    } catch (error: IllegalStateException) {
        println('!')
    }
}
