//! Just enough of Rust's grammar to look for words in code without finding them in comments and strings.

/// The source with every comment, string and character literal turned to spaces. Lines keep their numbers.
pub(crate) fn code_only(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        match opaque_end(bytes, at) {
            Some(end) => {
                code[at..end].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
                at = end;
            }
            None => at += 1,
        }
    }
    String::from_utf8_lossy(&code).into_owned()
}

/// The line numbers, from 1, on which an identifier or keyword stands alone: `unsafe`, not `unsafe_code`.
pub(crate) fn lines_with_word(code: &str, word: &str) -> Vec<usize> {
    let has_word = |line: &str| line.split(|c: char| !is_word(c)).any(|candidate| candidate == word);
    code.lines().enumerate().filter(|(_, line)| has_word(line)).map(|(index, _)| index + 1).collect()
}

pub(crate) fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// Where the comment or literal that begins at `at` ends, if one begins there.
fn opaque_end(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = &bytes[at..];
    if rest.starts_with(b"//") {
        return Some(position_from(bytes, at, |b| b == b'\n'));
    }
    if rest.starts_with(b"/*") {
        return Some(block_comment_end(bytes, at));
    }
    match rest[0] {
        b'"' => Some(quoted_end(bytes, at + 1, b'"')),
        b'\'' => character_end(bytes, at),
        b'r' | b'b' | b'c' if at == 0 || !is_word_byte(bytes[at - 1]) => raw_string_end(bytes, at),
        _ => None,
    }
}

/// Block comments nest.
fn block_comment_end(bytes: &[u8], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0_usize);
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            (at, depth) = (at + 2, depth + 1);
        } else if bytes[at..].starts_with(b"*/") {
            (at, depth) = (at + 2, depth - 1);
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    at
}

fn quoted_end(bytes: &[u8], mut at: usize, quote: u8) -> usize {
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// A lifetime begins like a character literal, and has no closing quote right after its first character.
fn character_end(bytes: &[u8], at: usize) -> Option<usize> {
    let first = *bytes.get(at + 1)?;
    if first == b'\\' {
        return Some(quoted_end(bytes, at + 1, b'\''));
    }
    let after = position_from(bytes, at + 2, |byte| byte & 0b1100_0000 != 0b1000_0000);
    (bytes.get(after) == Some(&b'\'')).then_some(after + 1)
}

/// `r"…"`, `br#"…"#` and their like: nothing is escaped, as many hashes close as have opened.
fn raw_string_end(bytes: &[u8], start: usize) -> Option<usize> {
    let prefix = if bytes[start] == b'r' { start } else { start + 1 };
    if bytes.get(prefix) != Some(&b'r') {
        return None;
    }
    let quote = position_from(bytes, prefix + 1, |byte| byte != b'#');
    if bytes.get(quote) != Some(&b'"') {
        return None;
    }
    let closing = [b"\"", &bytes[prefix + 1..quote]].concat();
    let inside = &bytes[quote + 1..];
    let length = inside.windows(closing.len()).position(|window| window == closing);
    Some(length.map_or(bytes.len(), |length| quote + 1 + length + closing.len()))
}

fn position_from(bytes: &[u8], from: usize, found: impl Fn(u8) -> bool) -> usize {
    (from..bytes.len()).find(|&at| found(bytes[at])).unwrap_or(bytes.len())
}

fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_vanish_and_code_stays() {
        let cases = [
            ("a // b\nc", "a     \nc"),
            ("a /* b /* c */ d */ e", "a                   e"),
            (r#"f("x\"y") z"#, "f(      ) z"),
            (r##"r#"a "quoted" b"# z"##, "                  z"),
            (r##"br"\" z"##, "      z"),
            ("'a' 'b", "    'b"),
            (r"'\'' z", "     z"),
            ("'é' z", "     z"),
            ("fn f<'a>(x: &'a str)", "fn f<'a>(x: &'a str)"),
            ("r#type = 1; bar", "r#type = 1; bar"),
        ];
        for (source, expected) in cases {
            assert_eq!(code_only(source), expected, "{source}");
        }
    }

    #[test]
    fn an_open_end_stops_at_the_end_of_the_file() {
        for source in ["\"abc", "/* abc", "r#\"abc\"", "'\\", "'", "\"\\", "b", "// é"] {
            assert_eq!(code_only(source).len(), source.len(), "{source}");
        }
    }

    #[test]
    fn words_are_found_whole() {
        let code = "unsafe_code\nlet a = unsafe{};\nnot_unsafe";
        assert_eq!(lines_with_word(code, "unsafe"), [2]);
    }
}
