use super::*;

#[test]
fn comments_lose_their_leaders_and_examples_are_taken_out() {
    let text = comment_text(
        ["/// First line\n///   indented\n///\n/// ```rhai\n/// f(1)   // → 2\n/// ```\n/// Last."]
            .into_iter(),
    );
    let (body, examples) = split_examples(&text);
    assert_eq!(body, "First line\n  indented\n\nLast.");
    assert_eq!(examples, ["f(1)   // → 2"]);
    assert_eq!(summary(&body), "First line indented");
}

#[test]
fn functions_of_a_module_are_described() {
    let engine = Engine::new();
    let text = "/// Doubles.\nfn twice(x) { x }\nprivate fn hidden() { 1 }\n\
                /// Its area.\nfn Study.area(scale) { |x| x }\n";
    let docs = of_module(&engine, "std/geometry", text);
    let found: Vec<_> = docs
        .iter()
        .map(|d| (d.path(), d.signatures[0].as_str()))
        .collect();
    assert_eq!(
        found,
        [
            ("area".to_string(), "Study.area(scale)"),
            ("geometry::twice".to_string(), "geometry::twice(x)"),
        ]
    );
    assert_eq!(docs[0].receivers, ["Study"]);
    assert_eq!(docs[0].arities, [2]);
    assert_eq!(docs[1].summary, "Doubles.");
}
