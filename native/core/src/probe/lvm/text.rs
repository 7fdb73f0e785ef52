//! The configuration syntax of LVM metadata: lvm.conf(5), "SYNTAX", as far as lvm2 writes it.
//!
//! Depth and number of values are bounded, so that hostile text costs neither stack nor memory.

use std::collections::BTreeMap;

/// A volume group's text is four deep: group, list, member, segment.
const DEPTH_MAX: usize = 8;
/// How many values all texts of a disk may have together: a volume has some twenty, a segment ten.
pub(super) const VALUES_MAX: usize = 1 << 17;

/// Why text is refused; places are bytes from its beginning.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ParseError {
    #[error("it is nested too deeply at byte {0}")]
    TooDeep(usize),
    #[error("there are more than {VALUES_MAX} values on this disk")]
    TooMany,
    #[error("byte {0} does not belong there")]
    Unexpected(usize),
}

/// `name { … }`, or the whole text.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Section(BTreeMap<String, Value>);

#[derive(Debug, PartialEq)]
pub(super) enum Value {
    Text(String),
    Number(i64),
    List(Vec<Value>),
    Section(Section),
}

impl Section {
    /// Takes what it has from `values_left`.
    pub(super) fn parse(text: &[u8], values_left: &mut usize) -> Result<Self, ParseError> {
        let mut parser = Parser { text, at: 0, values_left };
        let section = parser.section(0)?;
        if parser.at < parser.end() { Err(ParseError::Unexpected(parser.at)) } else { Ok(section) }
    }

    pub(super) fn section(&self, name: &str) -> Option<&Self> {
        match self.0.get(name)? {
            Value::Section(section) => Some(section),
            _ => None,
        }
    }

    /// The sections in here, by name.
    pub(super) fn sections(&self) -> impl Iterator<Item = (&str, &Self)> {
        self.0.iter().filter_map(|(name, value)| match value {
            Value::Section(section) => Some((name.as_str(), section)),
            _ => None,
        })
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_text()
    }

    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.0.get(name)?.as_number()
    }

    /// Empty where there is none.
    pub(super) fn list(&self, name: &str) -> &[Value] {
        match self.0.get(name) {
            Some(Value::List(values)) => values,
            _ => &[],
        }
    }

    /// Whether the list `name` holds the text `word`.
    pub(super) fn lists(&self, name: &str, word: &str) -> bool {
        self.list(name).iter().any(|value| value.as_text() == Some(word))
    }
}

impl Value {
    pub(super) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// `None` for what is no number or below zero.
    pub(super) fn as_number(&self) -> Option<u64> {
        match self {
            Self::Number(number) => u64::try_from(*number).ok(),
            _ => None,
        }
    }
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
    values_left: &'a mut usize,
}

impl Parser<'_> {
    /// Up to the closing brace of the section, which is left, or to the end of the text. Of two values
    /// with one name the later counts.
    fn section(&mut self, depth: usize) -> Result<Section, ParseError> {
        let mut section = Section::default();
        loop {
            match self.next_token() {
                None | Some(b'}') => return Ok(section),
                Some(_) => {
                    let name = self.name()?;
                    let value = self.named_value(depth)?;
                    section.0.insert(name, value);
                }
            }
        }
    }

    fn named_value(&mut self, depth: usize) -> Result<Value, ParseError> {
        match self.next_token() {
            Some(b'{') if depth < DEPTH_MAX => {
                self.count_value()?;
                self.at += 1;
                let section = self.section(depth + 1)?;
                self.expect(b'}')?;
                Ok(Value::Section(section))
            }
            Some(b'{') => Err(ParseError::TooDeep(self.at)),
            _ => {
                self.expect(b'=')?;
                if self.next_token() == Some(b'[') { self.list() } else { self.scalar() }
            }
        }
    }

    fn list(&mut self) -> Result<Value, ParseError> {
        self.count_value()?;
        self.expect(b'[')?;
        let mut values = Vec::new();
        while self.next_token() != Some(b']') {
            values.push(self.scalar()?);
            if self.next_token() != Some(b',') {
                break;
            }
            self.at += 1;
        }
        self.expect(b']')?;
        Ok(Value::List(values))
    }

    fn scalar(&mut self) -> Result<Value, ParseError> {
        self.count_value()?;
        match self.next_token() {
            Some(b'"') => self.quoted().map(Value::Text),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(ParseError::Unexpected(self.at)),
        }
    }

    /// A backslash takes the next byte as it is.
    fn quoted(&mut self) -> Result<String, ParseError> {
        self.expect(b'"')?;
        let mut bytes = Vec::new();
        loop {
            let byte = self.bump()?;
            match byte {
                b'"' => return Ok(String::from_utf8_lossy(&bytes).into_owned()),
                b'\\' => bytes.push(self.bump()?),
                _ => bytes.push(byte),
            }
        }
    }

    /// A number with a fraction is cut to its whole part; nothing read here has one.
    fn number(&mut self) -> Result<Value, ParseError> {
        let start = self.at;
        let is_negative = self.peek() == Some(b'-');
        if is_negative {
            self.at += 1;
        }
        let digits = self.run(|byte| byte.is_ascii_digit());
        let value = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse::<i64>().ok());
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.run(|byte| byte.is_ascii_digit());
        }
        let value = value.ok_or(ParseError::Unexpected(start))?;
        Ok(Value::Number(if is_negative { -value } else { value }))
    }

    fn name(&mut self) -> Result<String, ParseError> {
        let start = self.at;
        let name = self.run(|byte| byte.is_ascii_alphanumeric() || b"_+.-".contains(&byte));
        match std::str::from_utf8(name) {
            Ok(name) if !name.is_empty() => Ok(name.to_owned()),
            _ => Err(ParseError::Unexpected(start)),
        }
    }

    fn run(&mut self, belongs: impl Fn(u8) -> bool) -> &[u8] {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let length = rest.iter().position(|&byte| !belongs(byte)).unwrap_or(rest.len());
        self.at += length;
        rest.get(..length).unwrap_or_default()
    }

    /// The first byte behind blanks and comments.
    fn next_token(&mut self) -> Option<u8> {
        loop {
            self.run(|byte| byte.is_ascii_whitespace());
            if self.peek()? != b'#' {
                return self.peek();
            }
            self.run(|byte| byte != b'\n');
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), ParseError> {
        if self.next_token() != Some(byte) {
            return Err(ParseError::Unexpected(self.at));
        }
        self.at += 1;
        Ok(())
    }

    fn bump(&mut self) -> Result<u8, ParseError> {
        let byte = self.peek().ok_or(ParseError::Unexpected(self.at))?;
        self.at += 1;
        Ok(byte)
    }

    /// The text ends at its first NUL.
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied().filter(|&byte| byte != 0)
    }

    fn end(&self) -> usize {
        self.text.iter().position(|&byte| byte == 0).unwrap_or(self.text.len())
    }

    fn count_value(&mut self) -> Result<(), ParseError> {
        *self.values_left = self.values_left.checked_sub(1).ok_or(ParseError::TooMany)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &[u8]) -> Result<Section, ParseError> {
        Section::parse(text, &mut VALUES_MAX.clone())
    }

    #[test]
    fn every_form_is_read() {
        let text = b"# comment {\nvg-0 {\n  id = \"a\\\"b\\\\\" # more\n seqno = 7\n shift=-12\n ratio = 1.5\n \
                     flags = []\n stripes = [\"pv0\", 0,\n \"pv1\", 3]\n inner { x=1 }\n}\ndescription=\"\"\0junk{{{";
        let all = parse(text).unwrap();
        let group = all.section("vg-0").unwrap();
        assert_eq!(group.text("id"), Some("a\"b\\"));
        assert_eq!(group.number("seqno"), Some(7));
        assert_eq!(group.number("shift"), None);
        assert_eq!(group.number("ratio"), Some(1));
        assert!(group.list("flags").is_empty());
        assert_eq!(group.list("stripes").len(), 4);
        assert_eq!(group.list("stripes")[3].as_number(), Some(3));
        assert!(group.lists("stripes", "pv1"));
        assert_eq!(group.sections().map(|(name, _)| name).collect::<Vec<_>>(), ["inner"]);
        assert_eq!(all.text("description"), Some(""));
    }

    #[test]
    fn malformed_text_is_refused_with_its_place() {
        for text in [
            "{",
            "}",
            "a",
            "a =",
            "a = [1",
            "a = [1 2]",
            "a = \"x",
            "a = \"x\\",
            "a = b",
            "a { b",
            "= 1",
            "a = -",
        ] {
            assert!(matches!(parse(text.as_bytes()), Err(ParseError::Unexpected(_))), "{text}");
        }
        assert_eq!(parse(b"a = 99999999999999999999"), Err(ParseError::Unexpected(4)));
    }

    #[test]
    fn depth_and_number_are_bounded() {
        assert_eq!(parse(&b"a{".repeat(100_000)), Err(ParseError::TooDeep(17)));
        assert_eq!(parse(&b"a=1 ".repeat(VALUES_MAX + 1)), Err(ParseError::TooMany));
        let long = format!("a=[{}]", "1,".repeat(VALUES_MAX));
        assert_eq!(parse(long.as_bytes()), Err(ParseError::TooMany));
    }
}
