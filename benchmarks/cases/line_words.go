package words

import (
	"sort"
	"strings"
)

// Count returns how often each word of text occurs.
func Count(text string) map[string]int {
	counts := make(map[string]int)
	for _, word := range strings.Fields(strings.ToLower(text)) {
		⟦counts[word]++⟧
	}
	return counts
}

// Sorted returns the words of counts in alphabetical order.
func Sorted(counts map[string]int) []string {
	words := make([]string, 0, len(counts))
	for word := range counts {
		words = append(words, word)
	}
	sort.Strings(words)
	return words
}
