//! Sentences for the reader of a survey.

/// How many sentences a survey carries; a hostile disk could make one for every partition and volume.
const SENTENCES_MAX: usize = 100;

/// A bounded list of sentences.
#[derive(Debug, Default)]
pub(super) struct Problems {
    sentences: Vec<String>,
    dropped: usize,
}

impl Problems {
    pub(super) fn push(&mut self, sentence: String) {
        if self.sentences.len() < SENTENCES_MAX {
            self.sentences.push(sentence);
        } else {
            self.dropped = self.dropped.saturating_add(1);
        }
    }

    pub(super) fn into_sentences(mut self) -> Vec<String> {
        if self.dropped > 0 {
            self.sentences.push(format!("{} more problems are not listed.", self.dropped));
        }
        self.sentences
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_bounded() {
        let mut problems = Problems::default();
        for number in 0..SENTENCES_MAX + 3 {
            problems.push(format!("{number}."));
        }
        let sentences = problems.into_sentences();
        assert_eq!(sentences.len(), SENTENCES_MAX + 1);
        assert_eq!(sentences.last().map(String::as_str), Some("3 more problems are not listed."));
    }
}
