//! Words and how often they occur. 🔤

use std::collections::HashMap;
use std::fmt;

#[derive(Debug, Clone, Default)]
pub struct Counter {
    counts: HashMap<String, usize>,
    total: usize,
}

#[derive(Debug, PartialEq)]
pub enum Error {
    Empty,
    TooLong { limit: usize },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Empty => write!(f, "nothing to count"),
            Error::TooLong { limit } => write!(f, "more than {} words", limit),
        }
    }
}

impl Counter {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn feed(&mut self, text: &str, limit: usize) -> Result<usize, Error> {
        if text.is_empty() {
            return Err(Error::Empty);
        }
        for word in text.split_whitespace() {
            *self.counts.entry(word.to_lowercase()).or_insert(0) += 1;
            self.total += 1;
        }
        if self.total > limit {
            return Err(Error::TooLong { limit });
        }
        Ok(self.total)
    }

    pub fn best(&self) -> Option<(&String, &usize)> {
        self.counts.iter().max_by_key(|(_, count)| **count)
    }
}

fn main() {
    let mut counter = Counter::new();
    let text = vec!["eins", "zwei 🐝", "eins"].join(" ");
    if let Ok(total) = counter.feed(&text, 10) {
        println!("{total}: {:?}", counter.best());
    }
}
