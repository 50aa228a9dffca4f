"""GGUF models of any family as judges, through llama.cpp."""
