//! XML answers, element by element.

use std::io;

use quick_xml::Writer;
use quick_xml::events::BytesText;

/// A document that is being written, in memory.
pub(super) type Xml = Writer<Vec<u8>>;

/// A document: the element `root`, its namespace, and in it whatever `write` writes.
pub(super) fn document(
    root: &str,
    namespace: Option<&str>,
    write: impl FnOnce(&mut Xml) -> io::Result<()>,
) -> String {
    let mut xml = Writer::new(Vec::new());
    let root = xml.create_element(root).with_attributes(namespace.map(|namespace| ("xmlns", namespace)));
    // Writing to memory cannot fail.
    let _ = root.write_inner_content(write);
    String::from_utf8_lossy(&xml.into_inner()).into_owned()
}

/// Writes an element with a text in it and nothing else.
pub(super) fn element(xml: &mut Xml, name: &str, text: &str) -> io::Result<()> {
    xml.create_element(name).write_text_content(self::text(text)).map(drop)
}

/// Writes an element with whatever `write` writes in it.
pub(super) fn nested(
    xml: &mut Xml,
    name: &str,
    write: impl FnOnce(&mut Xml) -> io::Result<()>,
) -> io::Result<()> {
    xml.create_element(name).write_inner_content(write).map(drop)
}

/// The text of an element. What XML cannot hold at all, a control character, becomes U+FFFD.
pub(super) fn text(text: &str) -> BytesText<'static> {
    let refused = |letter: char| {
        letter.is_control() && !matches!(letter, '\n' | '\t' | '\r')
            || matches!(letter, '\u{fffe}' | '\u{ffff}')
    };
    BytesText::new(&text.replace(refused, "\u{fffd}")).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_escaped_and_holds_what_xml_holds() {
        let written = document("Outer", Some("urn:x"), |xml| {
            nested(xml, "Inner", |xml| element(xml, "Empty", ""))?;
            element(xml, "Name", "not <you> & \"me\"\r\n\t\u{1}\u{ffff}é")
        });
        assert_eq!(
            written,
            "<Outer xmlns=\"urn:x\"><Inner><Empty></Empty></Inner>\
             <Name>not &lt;you&gt; &amp; &quot;me&quot;&#13;\n\t\u{fffd}\u{fffd}é</Name></Outer>"
        );
        let read = roxmltree::Document::parse(&written).unwrap();
        let name = read.descendants().find(|node| node.has_tag_name(("urn:x", "Name"))).unwrap();
        assert_eq!(name.text(), Some("not <you> & \"me\"\r\n\t\u{fffd}\u{fffd}é"));
    }
}
